//! Shards that are late, gone, or break off, and queries that ask too much.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quorate_sql::data::ShardView;
use quorate_sql::error::{QueryError, Reason};
use quorate_sql::scatter::{Engine, EngineOptions, Executor, Frame, Request};
use tokio::sync::mpsc;

use crate::memory::Behaviour;
use crate::rows::{USERS, shards, tables};
use crate::support::{PATIENCE, ask, engine, named, options, parsed, query, within};

/// Short, but long enough for the shards that do answer.
const SHORT: Duration = Duration::from_millis(4000);

fn users_on(shard: usize) -> i64 {
    tables()[0].split(3)[shard].num_rows() as i64
}

fn count(rows: &str) -> i64 {
    parsed(rows)[0].as_object().expect("a row").values().next().and_then(serde_json::Value::as_i64).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_shard_is_left_out_and_the_others_count() {
    let shards = shards(3);
    let engine = engine(&shards);
    shards[1].behave(Behaviour::Silent);
    for _ in 0..2 {
        let answer = engine.query(within("SELECT count(*) FROM users", SHORT)).await.unwrap();
        assert_eq!(count(&answer.rows), USERS - users_on(1));
        assert_eq!((answer.shards_total, answer.shards_responded()), (3, 2));
        assert_eq!((answer.failed[0].shard.as_str(), answer.failed[0].reason), ("s2", Reason::Timeout));
    }
    shards[1].behave(Behaviour::Well);
    assert_eq!(count(&ask(&engine, "SELECT count(*) FROM users").await.unwrap().rows), USERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_gone_is_not_waited_for() {
    let shards = shards(3);
    let engine = engine(&shards);
    shards[0].behave(Behaviour::Gone);
    let answer = ask(&engine, "SELECT count(*) FROM users").await.unwrap();
    assert_eq!(count(&answer.rows), USERS - users_on(0));
    assert_eq!(answer.failed[0].reason, Reason::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_shard_counts_when_it_answers_in_time_and_its_late_answer_is_dropped() {
    let shards = shards(3);
    let engine = engine(&shards);
    shards[2].behave(Behaviour::Slow(Duration::from_millis(300)));
    let answer = ask(&engine, "SELECT count(*) FROM users").await.unwrap();
    assert_eq!(count(&answer.rows), USERS);
    shards[2].behave(Behaviour::Slow(SHORT + Duration::from_millis(200)));
    let late = engine.query(within("SELECT count(*) FROM users", SHORT)).await.unwrap();
    assert_eq!((count(&late.rows), late.failed[0].reason), (USERS - users_on(2), Reason::Timeout));
    // The late answer arrives during this one, which has its own.
    let answer = ask(&engine, "SELECT count(*) FROM users").await.unwrap();
    assert_eq!((count(&answer.rows), answer.shards_responded()), (USERS, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_answers_when_every_shard_is_silent_or_gone() {
    let shards = shards(3);
    let engine = engine(&shards);
    shards.iter().for_each(|shard| shard.behave(Behaviour::Gone));
    match ask(&engine, "SELECT * FROM users").await {
        Err(QueryError::NobodyAnswered(failed)) => {
            assert!(failed.iter().all(|failed| failed.reason == Reason::Unavailable));
            assert_eq!(failed.len(), 3);
        }
        other => panic!("{other:?}"),
    }
    shards[0].behave(Behaviour::Silent);
    match engine.query(within("SELECT * FROM users", Duration::from_millis(50))).await {
        Err(QueryError::NobodyAnswered(failed)) => assert_eq!(failed[0].reason, Reason::Timeout),
        other => panic!("{other:?}"),
    }
    // What needs no shard asks none.
    assert_eq!(count(&ask(&engine, "SELECT 7").await.unwrap().rows), 7);
}

/// Spoils the answers of one shard, from its nth request on.
struct Spoiler {
    inner: Arc<dyn Executor>,
    spoil: Spoil,
    /// The requests of each view so far.
    seen: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Spoil {
    /// Everything but the end arrives.
    NoEnd,
    /// The last bytes are cut off.
    Torn,
    /// The end promises more rows than came.
    TooFew,
    /// It was written by another version.
    OtherEngine,
    /// Nothing comes, but only of requests that read scalars or given rows.
    SilentAboveFirst,
}

#[async_trait]
impl Executor for Spoiler {
    async fn run(&self, request: Arc<Request>, view: Arc<dyn ShardView>, frames: mpsc::Sender<Frame>) {
        let spoiled = view.table("nothing").is_none();
        let above_first = !request.scalars.is_empty() || !request.given.is_empty();
        self.seen.fetch_add(1, Ordering::Relaxed);
        if !spoiled || (matches!(self.spoil, Spoil::SilentAboveFirst) && !above_first) {
            return self.inner.run(request, view, frames).await;
        }
        match self.spoil {
            Spoil::SilentAboveFirst => std::future::pending().await,
            Spoil::OtherEngine => {
                let request = Request { engine: "datafusion 1.0".into(), ..(*request).clone() };
                return self.inner.run(Arc::new(request), view, frames).await;
            }
            _ => {}
        }
        let (sender, mut sent) = mpsc::channel(64);
        self.inner.run(request, view, sender).await;
        while let Some(frame) = sent.recv().await {
            let frame = match (frame, self.spoil) {
                (Frame::End { .. }, Spoil::NoEnd) => return,
                (Frame::Bytes(bytes), Spoil::Torn) => Frame::Bytes(bytes.slice(..bytes.len() - 3)),
                (Frame::End { rows }, Spoil::TooFew) => Frame::End { rows: rows + 1 },
                (frame, _) => frame,
            };
            let _ = frames.send(frame).await;
        }
    }
}

/// An engine whose second shard is spoiled: it is told apart by a table that only it does not know.
fn spoiled(spoil: Spoil) -> Engine {
    let shards = shards(3);
    let others = tables().into_iter().filter(|table| &*table.schema.name != "nothing");
    let second =
        crate::memory::MemoryShard::new(others.map(|table| (table.schema.clone(), vec![table.split(3)[1].clone()])));
    let shards = vec![shards[0].clone(), second, shards[2].clone()];
    let engine = Engine::new(named(&shards), options()).expect("threads can be started");
    engine.executing(|inner| Arc::new(Spoiler { inner, spoil, seen: AtomicUsize::new(0) }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_its_end_or_with_missing_rows_counts_as_none() {
    for spoil in [Spoil::NoEnd, Spoil::Torn, Spoil::TooFew, Spoil::OtherEngine] {
        let engine = spoiled(spoil);
        for sql in ["SELECT count(*) FROM users", "SELECT count(*) FROM (SELECT id FROM users ORDER BY age)"] {
            let answer = ask(&engine, sql).await.unwrap();
            assert_eq!(count(&answer.rows), USERS - users_on(1));
            assert_eq!((answer.failed.len(), answer.failed[0].reason), (1, Reason::Error), "{:?}", answer.failed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_is_lost_in_the_second_stage_has_no_part_in_the_first_either() {
    let engine = spoiled(Spoil::SilentAboveFirst);
    // All three shards count; then one says nothing to the question that carries the count.
    let sql =
        "SELECT count(*), (SELECT count(*) FROM users) AS n FROM users WHERE id > (SELECT min(id) - 1 FROM users)";
    let answer = engine.query(within(sql, SHORT)).await.unwrap();
    let row = &parsed(&answer.rows)[0];
    let of_others = USERS - users_on(1);
    assert_eq!((row["count(*)"].as_i64(), row["n"].as_i64()), (Some(of_others), Some(of_others)));
    assert_eq!((answer.failed.len(), answer.failed[0].reason), (1, Reason::Timeout));
    // The same with rows that are given to the shards.
    let sql = "SELECT count(*) FROM orders o JOIN (SELECT city, max(id) AS id FROM users GROUP BY city) u ON o.user_id = u.id";
    let answer = engine.query(within(sql, SHORT)).await.unwrap();
    assert_eq!(answer.shards_responded(), 2, "{:?}", answer.failed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_does_not_know_a_table_has_no_rows_of_it_and_that_is_said() {
    let engine = spoiled(Spoil::SilentAboveFirst);
    let answer = ask(&engine, "SELECT count(*) FROM nothing").await.unwrap();
    assert_eq!((count(&answer.rows), answer.shards_responded()), (0, 3));
    assert_eq!(answer.warnings.len(), 1, "{:?}", answer.warnings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_no_shard_knows_gives_nothing_and_a_warning() {
    let engine = engine(&shards(3));
    for sql in
        ["SELECT * FROM ghosts", "SELECT u.id FROM users u JOIN ghosts g ON u.id = g.id", "SELECT * FROM a.b.users"]
    {
        let answer = ask(&engine, sql).await.unwrap();
        assert_eq!((answer.rows.as_str(), answer.shards_responded(), answer.warnings.len()), ("[]", 3, 1), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_needs_too_much_memory_says_so() {
    let engine = Engine::new(named(&shards(3)), EngineOptions { threads: 2, memory_bytes: 20_000 }).unwrap();
    for sql in [
        "SELECT * FROM users",
        "SELECT a.id, b.id FROM users a, users b",
        "SELECT name, count(*) FROM users GROUP BY name",
    ] {
        match ask(&engine, sql).await {
            Err(QueryError::Memory(text)) => assert!(!text.is_empty()),
            other => panic!("{sql}: {other:?}"),
        }
    }
    // What was taken is given back.
    assert_eq!(engine.runtime().pool().reserved(), 0);
    assert_eq!(count(&ask(&engine, "SELECT count(*) FROM users").await.unwrap().rows), USERS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_statements_are_refused_with_their_position() {
    let engine = engine(&shards(3));
    let wrong = |sql: &'static str| {
        let engine = &engine;
        async move {
            match ask(engine, sql).await {
                Err(QueryError::Wrong { text, position }) => (text, position.map(|at| (at.line, at.column))),
                other => panic!("{sql}: {other:?}"),
            }
        }
    };
    assert_eq!(wrong("SELECT * FORM users").await.1, Some((1, 10)));
    assert_eq!(wrong("SELECT\n  id,\n  aeg FROM users").await.1, Some((3, 3)));
    assert!(wrong("SELECT 'x").await.1.is_some());
    for sql in [
        "",
        "SELECT 1; SELECT 2",
        "SELECT nosuch(id) FROM users",
        "SELECT sum(name) FROM users",
        "SELECT id FROM users GROUP BY city",
        "SELECT $1",
        "SELECT 1 / 0",
        "SELECT 10 / (id - 5) FROM users",
        "SELECT CAST(name AS INT) FROM users",
        "SELECT id FROM users WHERE id = (SELECT id FROM users)",
        "SET x = 1",
        "COPY users TO 'x'",
        "CREATE VIEW v AS SELECT 1",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "SELECT * FROM '/etc/passwd'",
        "EXPLAIN EXPLAIN SELECT 1",
        "BEGIN",
        "SHOW TABLES",
    ] {
        match ask(&engine, sql).await {
            Err(QueryError::Wrong { text, .. }) => assert!(!text.is_empty()),
            Ok(answer) if sql.contains("passwd") => assert_eq!(answer.rows, "[]"),
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_of_a_megabyte_is_answered() {
    let engine = engine(&shards(3));
    let mut list: Vec<String> = (0..1000).map(|number| format!("'{number}{}'", "x".repeat(1024))).collect();
    list.push("'name of user 007'".into());
    let sql = format!("SELECT count(*) FROM users WHERE name IN ({})", list.join(", "));
    assert!(sql.len() > 1_000_000);
    assert_eq!(count(&engine.query(query(&sql)).await.unwrap().rows), USERS / 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_chain_of_conditions_reaches_the_shards() {
    let engine = engine(&shards(3));
    let chain: Vec<String> = (1..=300).map(|number| format!("id * 7 = {}", number * 14)).collect();
    let sql = format!("SELECT count(*) FROM users WHERE {}", chain.join(" OR "));
    assert_eq!(count(&ask(&engine, &sql).await.unwrap().rows), USERS / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deepest_expression_that_may_be_is_answered() {
    let engine = engine(&shards(3));
    let sums = format!("SELECT {}", vec!["1"; 990].join(" + "));
    assert_eq!(count(&ask(&engine, &sums).await.unwrap().rows), 990);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_that_are_too_deep_are_refused() {
    let engine = engine(&shards(3));
    for deep in [
        format!("SELECT {}", vec!["1"; 200_000].join(" + ")),
        format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("SELECT {}true", "NOT ".repeat(100_000)),
        vec!["SELECT 1"; 50_000].join(" UNION ALL "),
        "((((((((((".repeat(1000),
        format!("SELECT {}1", "- ".repeat(1900)),
    ] {
        match ask(&engine, &deep).await {
            Err(QueryError::Wrong { .. }) => {}
            other => panic!("{}...: {other:?}", &deep[..40]),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parameters_have_the_types_of_their_values() {
    let engine = engine(&shards(3));
    let asked = |sql: &str, params: &str| {
        let query = quorate_sql::scatter::Query { params: quorate_sql::plan::params(params).unwrap(), ..query(sql) };
        let engine = &engine;
        async move { engine.query(query).await }
    };
    let answer =
        asked("SELECT id FROM users WHERE name = $1 AND id < $2", r#"["name of user 007", 100]"#).await.unwrap();
    assert_eq!(parsed(&answer.rows).len(), 2);
    let answer = asked("SELECT count(*) FROM events WHERE value = $1", "[9007199254740993]").await.unwrap();
    assert!(count(&answer.rows) > 0);
    let answer = asked("SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d", "[null, true, 1.5, 18446744073709551615]").await;
    assert_eq!(answer.unwrap().rows, r#"[{"a":null,"b":true,"c":1.5,"d":18446744073709551615}]"#);
    assert!(matches!(asked("SELECT $2", "[1]").await, Err(QueryError::Wrong { .. })));
    for wrong in
        ["{}", "1", "[[1]]", "[{}]", "[1", "[1e999999999999999999999]", "[1234567890123456789012345678901234567890]"]
    {
        let params = quorate_sql::plan::params(wrong);
        assert!(params.is_err() || wrong.contains("e9"), "{wrong}: {params:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_what_runs_where_and_analyze_counts_what_travelled() {
    let engine = engine(&shards(3));
    let sql = "SELECT city, avg(age) FROM users WHERE age > 25 GROUP BY city";
    let rows = parsed(&ask(&engine, &format!("EXPLAIN {sql}")).await.unwrap().rows);
    let plan = |kind: &str| {
        let row = rows.iter().find(|row| row["plan_type"].as_str().unwrap().starts_with(kind));
        row.unwrap_or_else(|| panic!("{kind}: {rows:?}"))["plan"].as_str().unwrap().to_owned()
    };
    let (here, there) = (plan("coordinator"), plan("each shard, fragment 0"));
    assert!(here.contains("Gather: fragment=0, shards=3") && !here.contains("FilterExec"), "{here}");
    assert!(there.contains("FilterExec") && there.contains("mode=Partial") && there.contains("ShardScan"), "{there}");
    assert!(!there.contains("travelled"));
    let analyzed = ask(&engine, &format!("EXPLAIN ANALYZE {sql}")).await.unwrap();
    assert!(analyzed.rows.contains("travelled: rows="), "{}", analyzed.rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_side_by_side_do_not_disturb_each_other() {
    let shards = shards(3);
    let engine = Arc::new(engine(&shards));
    shards[0].behave(Behaviour::Slow(Duration::from_millis(5)));
    let asked: Vec<_> = (0..40)
        .map(|number: i64| {
            let engine = engine.clone();
            let sql =
                format!("SELECT count(*) FROM users WHERE id > {number} AND id > (SELECT min(id) - 1 FROM users)");
            tokio::spawn(async move { (number, ask(&engine, &sql).await.unwrap()) })
        })
        .collect();
    for answer in asked {
        let (number, answer) = tokio::time::timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(count(&answer.rows), USERS - number);
    }
}
