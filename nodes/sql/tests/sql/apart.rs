//! Coordinator and shards as processes of their own, whose messages are lost, doubled, delayed and overtaken, and which are
//! cut off, killed and started again.

use std::collections::BTreeMap;

use quorate_statemachines::slot::shard_of;
use serde_json::{Value, json};

use crate::router::{Router, Weather};

const SHARDS: [&str; 3] = ["s1", "s2", "s3"];
const ROWS: u32 = 60;

/// Long enough for two shards on a busy machine; what is waited for in vain costs nobody anything.
const SHORT_MS: u64 = 4000;

const BAD_WEATHER: Weather = Weather { lost: 0.05, doubled: 0.05, delay_ms_max: 15 };

/// A coordinator `q` and three shards, each a node of the shard's name.
fn network(more: &[&str]) -> Router {
    let router = Router::new(rand::random());
    router.add("q", "coordinator", &["--distributed", "--query-threads", "1", "--request-timeout", "60000"]);
    for shard in SHARDS {
        let args =
            [&["--group", shard, "--distributed", "--heartbeat", "80", "--request-timeout", "60000"], more].concat();
        router.add(shard, "shard", &args);
    }
    router
}

async fn begin(router: &Router, node: &str) {
    router.start(node);
    let init = if node == "q" { json!({ "type": "init", "shards": SHARDS }) } else { json!({ "type": "init" }) };
    let mut init = init;
    init["node_id"] = node.into();
    let answer = router.ask(node, init).await;
    assert_eq!(answer["type"], "init_ok", "{node}: {answer}");
}

async fn begin_all(router: &Router) {
    for node in SHARDS.into_iter().chain(["q"]) {
        begin(router, node).await;
    }
}

async fn query(router: &Router, sql: &str, timeout_ms: u64) -> Value {
    router.ask("q", json!({ "type": "scatter_query", "query": sql, "timeout_ms": timeout_ms })).await
}

/// A statement with time enough, which is to be carried out.
async fn run(router: &Router, sql: &str) -> Value {
    let answer = query(router, sql, 30_000).await;
    assert_eq!(answer["type"], "scatter_query_ok", "{:.80}: {answer}", sql);
    answer
}

async fn fill(router: &Router) {
    run(router, "CREATE TABLE t (id INT PRIMARY KEY, team TEXT, v INT)").await;
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'team {}', {})", id % 4, id % 7)).collect();
    let inserted = run(router, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
    assert_eq!(inserted["rows_affected"], ROWS, "{inserted}");
}

/// The rows of the shards that are not left out.
fn rows_without(failed: &[&str]) -> Vec<u32> {
    let is_there = |id: &u32| !failed.contains(&SHARDS[shard_of(&id.to_string(), 3).0 as usize]);
    (0..ROWS).filter(is_there).collect()
}

const BY_TEAM: &str = "SELECT team, count(*) AS n, sum(v) AS sum FROM t GROUP BY team ORDER BY team";

/// What [`BY_TEAM`] comes to over these rows.
fn by_team(rows: &[u32]) -> Value {
    let mut teams = BTreeMap::new();
    for id in rows {
        let (n, sum) = teams.entry(format!("team {}", id % 4)).or_insert((0, 0));
        (*n, *sum) = (*n + 1, *sum + id % 7);
    }
    teams.into_iter().map(|(team, (n, sum))| json!({ "team": team, "n": n, "sum": sum })).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_are_carried_out_once_and_whole_over_processes_whose_messages_are_lost_and_overtaken() {
    let router = network(&[]);
    router.set_weather(BAD_WEATHER);
    begin_all(&router).await;
    fill(&router).await;
    assert_eq!(run(&router, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    // One row is found by its key, the others by what they are.
    assert_eq!(run(&router, "UPDATE t SET v = v + 100 WHERE id = 5").await["rows_affected"], 1);
    assert_eq!(run(&router, "UPDATE t SET v = v + 1000 WHERE team = 'team 1'").await["rows_affected"], 15);
    let sum: u32 = (0..ROWS).map(|id| id % 7).sum::<u32>() + 100 + 15_000;
    assert_eq!(run(&router, "SELECT sum(v) AS sum FROM t").await["results"], json!([{ "sum": sum }]));
    // A number that was used is answered as it was, by whichever process.
    let numbered = json!({
        "type": "scatter_query", "query": "UPDATE t SET v = v + 1 WHERE v >= 0", "timeout_ms": 30_000,
        "client": "somebody", "seq": 1,
    });
    for _ in 0..3 {
        assert_eq!(router.ask("q", numbered.clone()).await["rows_affected"], ROWS);
    }
    let again = run(&router, "SELECT sum(v) AS sum FROM t").await;
    assert_eq!(again["results"], json!([{ "sum": sum + ROWS }]));
    // Two fragments at two levels, over one view of each shard.
    let above = "SELECT count(*) AS n FROM t a JOIN t b ON a.v = b.v WHERE a.v > (SELECT avg(v) FROM t)";
    assert_eq!(run(&router, above).await["results"][0]["n"], 31, "{above}");
    let existing = query(&router, "INSERT INTO t VALUES (100, 'new', 1), (7, 'old', 1)", 30_000).await;
    assert_eq!((&existing["type"], &existing["code"]), (&json!("error"), &json!(21)), "{existing}");
    assert_eq!(run(&router, "DELETE FROM t WHERE id >= 30").await["rows_affected"], 30);
    assert_eq!(run(&router, "SELECT count(*) AS n FROM t").await["results"], json!([{ "n": 30 }]));
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_cut_off_is_left_out_by_name_and_a_later_one_is_waited_for() {
    let router = network(&[]);
    for node in ["q", "s1", "s2"] {
        begin(&router, node).await;
    }
    // s3 is not there yet. What it is asked waits for it.
    let early = router.clone();
    let creating = tokio::spawn(async move { fill(&early).await });
    begin(&router, "s3").await;
    creating.await.expect("the table is made once all are there");
    assert_eq!(run(&router, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    for alone in ["s1", "s3"] {
        router.part(&[alone]);
        let partial = query(&router, BY_TEAM, SHORT_MS).await;
        assert_eq!(partial["type"], "scatter_query_ok", "{partial}");
        assert_eq!(partial["shards_responded"], 2, "{partial}");
        assert_eq!(partial["failed"][0]["shard"], alone, "{partial}");
        assert_eq!(partial["failed"][0]["reason"], "timeout", "{partial}");
        assert_eq!(partial["results"], by_team(&rows_without(&[alone])), "{partial}");
        let all = json!({ "type": "scatter_query", "query": BY_TEAM, "timeout_ms": 300, "require_all": true });
        assert_eq!(router.ask("q", all).await["code"], 0);
        // Of a change nobody knows what a shard has done that is silent.
        let change = query(&router, "UPDATE t SET v = v WHERE id >= 0", 500).await;
        assert_eq!(change["type"], "error", "{change}");
        router.part(&[]);
        assert_eq!(run(&router, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    }
    router.part(&["q"]);
    let nobody = query(&router, BY_TEAM, 300).await;
    assert_eq!((&nobody["code"], &nobody["reason"]), (&json!(0), &json!("no_shard_answered")), "{nobody}");
    router.part(&[]);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shards_have_kept_is_there_when_they_and_the_coordinator_were_killed() {
    let dir = Scratch::new();
    let router = network(&["--data-dir", &dir.path()]);
    router.set_weather(BAD_WEATHER);
    begin_all(&router).await;
    fill(&router).await;
    for nodes in [&["s2"][..], &["q"], &["s1", "s2", "s3", "q"]] {
        for node in nodes {
            router.kill(node).await;
        }
        if nodes == ["s2"] {
            let partial = query(&router, BY_TEAM, SHORT_MS).await;
            assert_eq!(partial["results"], by_team(&rows_without(&["s2"])), "{partial}");
        }
        for node in nodes {
            begin(&router, node).await;
        }
        assert_eq!(run(&router, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    }
    assert_eq!(run(&router, "DELETE FROM t").await["rows_affected"], ROWS);
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_three_replicas_answers_without_any_one_of_them() {
    let router = Router::new(rand::random());
    let peers = ["--distributed", "--peers", "s1=n2,n3,n4", "--heartbeat", "80", "--request-timeout", "60000"];
    // The binary of the coordinator is a shard's replica where its node is named as one.
    router.add("n1", "coordinator", &peers);
    router.add("n2", "coordinator", &peers);
    for node in ["n3", "n4"] {
        router.add(node, "shard", &[&["--group", "s1"], &peers[..]].concat());
    }
    router.set_weather(BAD_WEATHER);
    for node in ["n1", "n2", "n3", "n4"] {
        router.start(node);
        let init = json!({ "type": "init", "node_id": node, "node_ids": ["n1", "n2", "n3", "n4"] });
        assert_eq!(router.ask(node, init).await["type"], "init_ok");
    }
    let ask = async |sql: &str| {
        let body = json!({ "type": "scatter_query", "query": sql, "timeout_ms": 30_000 });
        let answer = router.ask("n1", body).await;
        assert_eq!(answer["type"], "scatter_query_ok", "{sql}: {answer}");
        answer
    };
    ask("CREATE TABLE t (id INT PRIMARY KEY)").await;
    for (nth, cut_off) in ["n2", "n3", "n4"].into_iter().enumerate() {
        router.part(&[cut_off]);
        assert_eq!(ask(&format!("INSERT INTO t VALUES ({nth})")).await["rows_affected"], 1);
        assert_eq!(ask("SELECT count(*) AS n FROM t").await["results"], json!([{ "n": nth + 1 }]));
        router.part(&[]);
    }
    router.kill("n3").await;
    assert_eq!(ask("SELECT count(*) AS n FROM t").await["results"], json!([{ "n": 3 }]));
    let refused = router.ask("n2", json!({ "type": "scatter_query", "query": "SELECT 1" })).await;
    assert_eq!(refused["code"], 10, "a replica takes no statements: {refused}");
    router.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_comes_in_pages_of_which_none_may_be_missing() {
    let router = network(&[]);
    begin_all(&router).await;
    run(&router, "CREATE TABLE big (id INT PRIMARY KEY, text TEXT)").await;
    // More of each shard than may be under way at once.
    for part in 0..16 {
        let text = |id: u32| format!("{id:0>5}").repeat(1600);
        let rows: Vec<String> = (part * 60..(part + 1) * 60).map(|id| format!("({id}, '{}')", text(id))).collect();
        assert_eq!(run(&router, &format!("INSERT INTO big VALUES {}", rows.join(", "))).await["rows_affected"], 60);
    }
    router.set_weather(BAD_WEATHER);
    let before = router.sent("scatter_page");
    let all = run(&router, "SELECT id, text FROM big ORDER BY id").await;
    let pages = router.sent("scatter_page") - before;
    assert!(pages >= 55, "{pages} pages");
    let rows = all["results"].as_array().expect("rows");
    assert_eq!(rows.len(), 960);
    for (id, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], id);
        assert_eq!(row["text"], format!("{id:0>5}").repeat(1600));
    }
    // In time for some of its pages at most: left out, not shortened.
    router.set_weather(Weather { delay_ms_max: 400, ..Weather::default() });
    let hasty = query(&router, "SELECT id, text FROM big ORDER BY id", 300).await;
    let counted = match hasty["type"] == "error" {
        true => 0,
        false => hasty["results"].as_array().expect("rows").len(),
    };
    let failed: Vec<&str> =
        hasty["failed"].as_array().into_iter().flatten().filter_map(|f| f["shard"].as_str()).collect();
    let there = |id: &u32| !failed.contains(&SHARDS[shard_of(&id.to_string(), 3).0 as usize]);
    assert_eq!(counted, (0..960).filter(there).count(), "{failed:?}");
    router.set_weather(Weather::default());
    router.end().await;
}

/// A directory that goes with the test.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("quorate-sql-{}-{:x}", std::process::id(), rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    fn path(&self) -> String {
        self.0.to_str().expect("a path of plain text").to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
