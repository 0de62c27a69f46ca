//! Queries over a million rows on three shards, beside a single engine over the same rows in memory.
//!
//! `cargo bench -p quorate-sql [-- ROWS]`. The shards are replicated groups in this process; the rows are inserted by
//! statements. *Cold* is the first query, which decodes all rows; later ones find them decoded. Then one shard is paused,
//! and the time by which answers miss their deadline is measured.

use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Int32Array, Int64Array, StringViewArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use quorate_nodes::stdio::ServeOptions;
use quorate_nodes::stdio::transcript::Conversation;
use quorate_sql::json;
use quorate_sql::service::{Coordinator, CoordinatorOptions};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const INSERTED_AT_ONCE: i64 = 20_000;
const ROUNDS: usize = 15;
const LATE_ROUNDS: usize = 200;
const LATE_MS: u64 = 50;

const QUERIES: [(&str, &str); 4] = [
    ("age > 25, counted", "SELECT count(*) AS n FROM users WHERE age > 25"),
    ("age > 99 (1 in 100), rows", "SELECT id, city FROM users WHERE age > 98"),
    ("AVG by city, top 10", "SELECT city, avg(age) AS a FROM users GROUP BY city ORDER BY a DESC, city LIMIT 10"),
    ("top 100", "SELECT id, age, score FROM users ORDER BY score DESC, id LIMIT 100"),
];

fn age(id: i64) -> i64 {
    (id * 7919) % 100
}

fn city(id: i64) -> String {
    format!("city {:03}", (id * 31) % 500)
}

fn score(id: i64) -> i64 {
    (id * 2_654_435_761) % 1_000_003
}

struct Client {
    conversation: Conversation,
    next: u64,
}

impl Client {
    async fn ask(&mut self, mut body: Value) -> Value {
        self.next += 1;
        body["msg_id"] = self.next.into();
        let line = json!({ "src": "c", "dest": "coord", "body": body }).to_string();
        self.conversation.send(&line).await.expect("it listens");
        self.conversation.receive().await.expect("it answers").expect("it goes on")["body"].clone()
    }

    async fn sql(&mut self, sql: &str, timeout_ms: u64) -> Value {
        let answer = self.ask(json!({ "type": "scatter_query", "query": sql, "timeout_ms": timeout_ms })).await;
        assert_eq!(answer["type"], "scatter_query_ok", "{answer}");
        answer
    }
}

fn percentile(times: &mut [Duration], percent: usize) -> f64 {
    times.sort();
    times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0
}

async fn single(rows: i64) -> SessionContext {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("city", DataType::Utf8View, true),
        Field::new("age", DataType::Int32, true),
        Field::new("score", DataType::Int64, true),
    ]));
    let batch = |ids: Vec<i64>| {
        let columns: Vec<datafusion::arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringViewArray::from_iter_values(ids.iter().map(|id| city(*id)))),
            Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| age(*id) as i32))),
            Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| score(*id)))),
        ];
        RecordBatch::try_new(schema.clone(), columns).expect("columns agree")
    };
    let ids: Vec<i64> = (0..rows).collect();
    let batches: Vec<RecordBatch> = ids.chunks(8192).map(|ids| batch(ids.to_vec())).collect();
    let mut partitions = vec![Vec::new(); 3];
    for (number, batch) in batches.into_iter().enumerate() {
        partitions[number % 3].push(batch);
    }
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(3));
    let table = MemTable::try_new(schema, partitions).expect("a table");
    context.register_table("users", Arc::new(table)).expect("it is new");
    context
}

#[tokio::main]
async fn main() {
    let rows: i64 = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1_000_000);
    let request_timeout = Duration::from_secs(600);
    let serve = ServeOptions { request_timeout, allow_faults: true, ..ServeOptions::default() };
    let coordinator = Coordinator::new(CoordinatorOptions { request_timeout, ..CoordinatorOptions::default() });
    let mut client = Client { conversation: Conversation::start(coordinator, serve), next: 0 };
    client.ask(json!({ "type": "init", "shards": ["s1", "s2", "s3"] })).await;
    client.sql("CREATE TABLE users (id BIGINT PRIMARY KEY, city TEXT, age INT, score BIGINT)", 60_000).await;
    let begun = Instant::now();
    for from in (0..rows).step_by(INSERTED_AT_ONCE as usize) {
        let values = (from..rows.min(from + INSERTED_AT_ONCE))
            .map(|id| format!("({id},'{}',{},{})", city(id), age(id), score(id)))
            .collect::<Vec<_>>();
        client.sql(&format!("INSERT INTO users VALUES {}", values.join(",")), 60_000).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("{rows} rows inserted in {seconds:.1} s ({:.0} rows/s)", rows as f64 / seconds);
    let begun = Instant::now();
    let counted = client.sql("SELECT count(*) AS n, sum(score) AS s FROM users", 600_000).await;
    println!("cold, all rows decoded: {:.0} ms", begun.elapsed().as_secs_f64() * 1000.0);
    assert_eq!(counted["results"][0]["n"], rows);

    let single = single(rows).await;
    println!("{:<28} {:>12} {:>12} {:>7}   (p50 ms of {ROUNDS}, warm)", "query", "3 shards", "single", "ratio");
    for (name, sql) in QUERIES {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let mut answers = (Value::Null, String::new());
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            answers.0 = client.sql(sql, 600_000).await["results"].clone();
            ours.push(begun.elapsed());
            let begun = Instant::now();
            let frame = single.sql(sql).await.expect("it plans");
            let schema = Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await.expect("it runs");
            answers.1 = json::rows(&schema, &batches).expect("rows can be written");
            theirs.push(begun.elapsed());
        }
        let expected: Value = serde_json::from_str(&answers.1).expect("rows are JSON");
        let (found, expected) = (answers.0.as_array().map(Vec::len), expected.as_array().map(Vec::len));
        assert_eq!(found, expected, "{name}");
        let (ours, theirs) = (percentile(&mut ours, 50), percentile(&mut theirs, 50));
        println!("{name:<28} {ours:>12.1} {theirs:>12.1} {:>7.2}", ours / theirs);
    }

    client.ask(json!({ "type": "fault", "action": "pause", "target": "s1" })).await;
    let mut late = Vec::new();
    for _ in 0..LATE_ROUNDS {
        let begun = Instant::now();
        let answer = client.sql("SELECT count(*) AS n FROM users WHERE age > 25", LATE_MS).await;
        late.push(begun.elapsed().saturating_sub(Duration::from_millis(LATE_MS)));
        assert_eq!(answer["failed"][0]["reason"], "timeout", "{answer}");
    }
    let (p50, p99) = (percentile(&mut late, 50), percentile(&mut late, 99));
    println!("one shard paused, {LATE_ROUNDS} queries of {LATE_MS} ms: late by p50 {p50:.2} ms, p99 {p99:.2} ms");
}
