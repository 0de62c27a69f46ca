//! Coordinator and shards as processes of their own, whose messages are lost, doubled, delayed and overtaken, and which are
//! cut off, killed and started again.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_harness::stdio::latency::{Distribution, Latency};
use quorate_harness::stdio::message::Body;
use quorate_harness::stdio::network::Weather;
use quorate_harness::stdio::processes::Seat;
use quorate_harness::stdio::trial::Trial;
use quorate_statemachines::slot::shard_of;
use serde_json::{Value, json};

use crate::binary;

const SHARDS: [&str; 3] = ["s1", "s2", "s3"];
const ROWS: u32 = 60;

/// Long enough for two shards on a busy machine; what is waited for in vain costs nobody anything.
const SHORT_MS: u64 = 4000;

/// Messages between nodes are lost and doubled now and then, and take up to 15 ms.
fn bad_weather(weather: &mut Weather) {
    *weather = Weather { latency: up_to(16), lost: 0.05, doubled: 0.05 };
}

fn up_to(ms: u64) -> Latency {
    Latency { mean: Duration::from_millis(ms / 2), distribution: Distribution::Uniform }
}

/// A trial with one more node: the coordinator `q` of these shards.
pub(crate) fn coordinator(trial: Trial, shards: &[&str]) -> Trial {
    let init = Body::from_iter([("shards".to_owned(), json!(shards))]);
    let args = ["--distributed", "--query-threads", "1", "--request-timeout", "60000"];
    trial.with(binary("coordinator"), &args, vec![Seat { init, ..Seat::among(&["q"], "q") }])
}

/// A trial with these shards, each a node of the shard's name.
pub(crate) fn shards(trial: Trial, shards: &[&str], more: &[&str]) -> Trial {
    let args = ["--group", "{node}", "--distributed", "--heartbeat", "80", "--request-timeout", "60000"];
    let seats = shards.iter().map(|shard| Seat::among(&[shard], shard)).collect();
    trial.with(binary("shard"), &[&args, more].concat(), seats)
}

/// A coordinator and three shards, of which none runs yet.
fn network(more: &[&str]) -> (Trial, Seed) {
    let seed = Seed::of_package("quorate-sql", "sql");
    (shards(coordinator(Trial::new(seed.number()), &SHARDS), &SHARDS, more), seed)
}

const ALL: [&str; 4] = ["s1", "s2", "s3", "q"];

/// Asks the coordinator.
async fn ask(trial: &Trial, fields: Value) -> Value {
    trial.ask("c", "q", "scatter_query", fields).await.into()
}

pub(crate) async fn query(trial: &Trial, sql: &str, timeout_ms: u64) -> Value {
    ask(trial, json!({ "query": sql, "timeout_ms": timeout_ms })).await
}

/// A statement with time enough, which is to be carried out.
pub(crate) async fn run(trial: &Trial, sql: &str) -> Value {
    let answer = query(trial, sql, 30_000).await;
    assert_eq!(answer["type"], "scatter_query_ok", "{:.80}: {answer}", sql);
    answer
}

async fn fill(trial: &Trial) {
    run(trial, "CREATE TABLE t (id INT PRIMARY KEY, team TEXT, v INT)").await;
    let rows: Vec<String> = (0..ROWS).map(|id| format!("({id}, 'team {}', {})", id % 4, id % 7)).collect();
    let inserted = run(trial, &format!("INSERT INTO t VALUES {}", rows.join(", "))).await;
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
    let (trial, _seed) = network(&[]);
    trial.network().set_weather(bad_weather);
    trial.start(&ALL).await;
    fill(&trial).await;
    assert_eq!(run(&trial, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    // One row is found by its key, the others by what they are.
    assert_eq!(run(&trial, "UPDATE t SET v = v + 100 WHERE id = 5").await["rows_affected"], 1);
    assert_eq!(run(&trial, "UPDATE t SET v = v + 1000 WHERE team = 'team 1'").await["rows_affected"], 15);
    let sum: u32 = (0..ROWS).map(|id| id % 7).sum::<u32>() + 100 + 15_000;
    assert_eq!(run(&trial, "SELECT sum(v) AS sum FROM t").await["results"], json!([{ "sum": sum }]));
    // A number that was used is answered as it was, by whichever process.
    let numbered = json!({
        "query": "UPDATE t SET v = v + 1 WHERE v >= 0", "timeout_ms": 30_000,
        "client": "somebody", "seq": 1,
    });
    for _ in 0..3 {
        assert_eq!(ask(&trial, numbered.clone()).await["rows_affected"], ROWS);
    }
    let again = run(&trial, "SELECT sum(v) AS sum FROM t").await;
    assert_eq!(again["results"], json!([{ "sum": sum + ROWS }]));
    // Two fragments at two levels, over one view of each shard.
    let above = "SELECT count(*) AS n FROM t a JOIN t b ON a.v = b.v WHERE a.v > (SELECT avg(v) FROM t)";
    assert_eq!(run(&trial, above).await["results"][0]["n"], 31, "{above}");
    let existing = query(&trial, "INSERT INTO t VALUES (100, 'new', 1), (7, 'old', 1)", 30_000).await;
    assert_eq!((&existing["type"], &existing["code"]), (&json!("error"), &json!(21)), "{existing}");
    assert_eq!(run(&trial, "DELETE FROM t WHERE id >= 30").await["rows_affected"], 30);
    assert_eq!(run(&trial, "SELECT count(*) AS n FROM t").await["results"], json!([{ "n": 30 }]));
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_cut_off_is_left_out_by_name_and_a_later_one_is_waited_for() {
    let (trial, _seed) = network(&[]);
    trial.start(&["q", "s1", "s2"]).await;
    // s3 is not there yet. What it is asked waits for it.
    tokio::join!(fill(&trial), trial.start(&["s3"]));
    assert_eq!(run(&trial, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    for alone in ["s1", "s3"] {
        trial.network().cut_off(&[alone]);
        let partial = query(&trial, BY_TEAM, SHORT_MS).await;
        assert_eq!(partial["type"], "scatter_query_ok", "{partial}");
        assert_eq!(partial["shards_responded"], 2, "{partial}");
        assert_eq!(partial["failed"][0]["shard"], alone, "{partial}");
        assert_eq!(partial["failed"][0]["reason"], "timeout", "{partial}");
        assert_eq!(partial["results"], by_team(&rows_without(&[alone])), "{partial}");
        let all = json!({ "query": BY_TEAM, "timeout_ms": 300, "require_all": true });
        assert_eq!(ask(&trial, all).await["code"], 0);
        // Of a change nobody knows what a shard has done that is silent.
        let change = query(&trial, "UPDATE t SET v = v WHERE id >= 0", 500).await;
        assert_eq!(change["type"], "error", "{change}");
        trial.network().cut_off(&[]);
        assert_eq!(run(&trial, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    }
    trial.network().cut_off(&["q"]);
    let nobody = query(&trial, BY_TEAM, 300).await;
    assert_eq!((&nobody["code"], &nobody["reason"]), (&json!(0), &json!("no_shard_answered")), "{nobody}");
    trial.network().cut_off(&[]);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shards_have_kept_is_there_when_they_and_the_coordinator_were_killed() {
    let (trial, _seed) = network(&["--data-dir", "{data}"]);
    trial.network().set_weather(bad_weather);
    trial.start(&ALL).await;
    fill(&trial).await;
    for nodes in [&["s2"][..], &["q"], &["s1", "s2", "s3", "q"]] {
        trial.kill(nodes).await;
        if nodes == ["s2"] {
            let partial = query(&trial, BY_TEAM, SHORT_MS).await;
            assert_eq!(partial["results"], by_team(&rows_without(&["s2"])), "{partial}");
        }
        trial.start(nodes).await;
        assert_eq!(run(&trial, BY_TEAM).await["results"], by_team(&rows_without(&[])));
    }
    assert_eq!(run(&trial, "DELETE FROM t").await["rows_affected"], ROWS);
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_of_three_replicas_answers_without_any_one_of_them() {
    let seed = Seed::of_package("quorate-sql", "sql");
    let nodes = ["n1", "n2", "n3", "n4"];
    let peers = ["--distributed", "--peers", "s1=n2,n3,n4", "--heartbeat", "80", "--request-timeout", "60000"];
    // The binary of the coordinator is a shard's replica where its node is named as one.
    let (first, others) = (["n1", "n2"], ["n3", "n4"]);
    let trial = Trial::new(seed.number())
        .with(binary("coordinator"), &peers, first.map(|node| Seat::among(&nodes, node)).to_vec())
        .with(
            binary("shard"),
            &[&["--group", "s1"], &peers[..]].concat(),
            others.map(|node| Seat::among(&nodes, node)).to_vec(),
        );
    trial.network().set_weather(bad_weather);
    trial.start(&nodes).await;
    let ask = async |sql: &str| {
        let fields = json!({ "query": sql, "timeout_ms": 30_000 });
        let answer = Value::from(trial.ask("c", "n1", "scatter_query", fields).await);
        assert_eq!(answer["type"], "scatter_query_ok", "{sql}: {answer}");
        answer
    };
    ask("CREATE TABLE t (id INT PRIMARY KEY)").await;
    for (nth, cut_off) in ["n2", "n3", "n4"].into_iter().enumerate() {
        trial.network().cut_off(&[cut_off]);
        assert_eq!(ask(&format!("INSERT INTO t VALUES ({nth})")).await["rows_affected"], 1);
        assert_eq!(ask("SELECT count(*) AS n FROM t").await["results"], json!([{ "n": nth + 1 }]));
        trial.network().cut_off(&[]);
    }
    trial.kill(&["n3"]).await;
    assert_eq!(ask("SELECT count(*) AS n FROM t").await["results"], json!([{ "n": 3 }]));
    let refused = trial.ask("c", "n2", "scatter_query", json!({ "query": "SELECT 1" })).await;
    assert_eq!(refused["code"], 10, "a replica takes no statements: {refused:?}");
    trial.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_answer_comes_in_pages_of_which_none_may_be_missing() {
    let (trial, _seed) = network(&[]);
    trial.start(&ALL).await;
    run(&trial, "CREATE TABLE big (id INT PRIMARY KEY, text TEXT)").await;
    // More of each shard than may be under way at once.
    for part in 0..16 {
        let text = |id: u32| format!("{id:0>5}").repeat(1600);
        let rows: Vec<String> = (part * 60..(part + 1) * 60).map(|id| format!("({id}, '{}')", text(id))).collect();
        assert_eq!(run(&trial, &format!("INSERT INTO big VALUES {}", rows.join(", "))).await["rows_affected"], 60);
    }
    trial.network().set_weather(bad_weather);
    let before = trial.network().sent("scatter_page");
    let all = run(&trial, "SELECT id, text FROM big ORDER BY id").await;
    let pages = trial.network().sent("scatter_page") - before;
    assert!(pages >= 55, "{pages} pages");
    let rows = all["results"].as_array().expect("rows");
    assert_eq!(rows.len(), 960);
    for (id, row) in rows.iter().enumerate() {
        assert_eq!(row["id"], id);
        assert_eq!(row["text"], format!("{id:0>5}").repeat(1600));
    }
    // In time for some of its pages at most: left out, not shortened.
    trial.network().set_weather(|weather| *weather = Weather { latency: up_to(400), ..Weather::default() });
    let hasty = query(&trial, "SELECT id, text FROM big ORDER BY id", 300).await;
    let counted = match hasty["type"] == "error" {
        true => 0,
        false => hasty["results"].as_array().expect("rows").len(),
    };
    let failed: Vec<&str> =
        hasty["failed"].as_array().into_iter().flatten().filter_map(|f| f["shard"].as_str()).collect();
    let there = |id: &u32| !failed.contains(&SHARDS[shard_of(&id.to_string(), 3).0 as usize]);
    assert_eq!(counted, (0..960).filter(there).count(), "{failed:?}");
    trial.network().set_weather(|weather| *weather = Weather::default());
    trial.end().await;
}
