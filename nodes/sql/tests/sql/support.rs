//! Engines over shards in memory, and what a single engine says over the same rows.

use std::sync::Arc;
use std::time::Duration;

use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use quorate_sql::data::ReadConsistency;
use quorate_sql::error::QueryError;
use quorate_sql::json;
use quorate_sql::scatter::{Answer, Engine, EngineOptions, Query, Shard};
use serde_json::Value;
use tokio::time::Instant;

use crate::memory::MemoryShard;
use crate::rows;

/// Long enough for any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn options() -> EngineOptions {
    EngineOptions { threads: 2, memory_bytes: 256 * 1024 * 1024 }
}

pub(crate) fn named(shards: &[Arc<MemoryShard>]) -> Vec<Shard> {
    let named = |(number, shard): (usize, &Arc<MemoryShard>)| Shard::new(format!("s{}", number + 1), shard.clone());
    shards.iter().enumerate().map(named).collect()
}

pub(crate) fn engine(shards: &[Arc<MemoryShard>]) -> Engine {
    Engine::new(named(shards), options()).expect("threads can be started")
}

pub(crate) fn query(sql: &str) -> Query {
    Query {
        sql: sql.to_owned(),
        params: Vec::new(),
        consistency: ReadConsistency::Linearizable,
        timeout: PATIENCE,
        deadline: Instant::now() + 2 * PATIENCE,
    }
}

/// The same with another time for each shard.
pub(crate) fn within(sql: &str, timeout: Duration) -> Query {
    Query { timeout, ..query(sql) }
}

pub(crate) async fn ask(engine: &Engine, sql: &str) -> Result<Answer, QueryError> {
    engine.query(query(sql)).await
}

pub(crate) fn parsed(rows: &str) -> Vec<Value> {
    serde_json::from_str(rows).expect("rows are JSON")
}

/// DataFusion in one process over all rows.
pub(crate) fn single() -> SessionContext {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    for table in rows::tables() {
        let rows = MemTable::try_new(table.rows.schema(), vec![vec![table.rows.clone()]]).expect("a table");
        context.register_table(&*table.schema.name, Arc::new(rows)).expect("it is new");
    }
    context
}

pub(crate) async fn said_by(context: &SessionContext, sql: &str) -> Vec<Value> {
    let frame = context.sql(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    parsed(&json::rows(&schema, &batches).expect("rows can be written"))
}

/// Equal, where sums of numbers in another order count as equal.
pub(crate) fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap_or(f64::NAN), y.as_f64().unwrap_or(f64::NAN));
            (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0)
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| alike(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| alike(x, y)))
        }
        _ => a == b,
    }
}

/// In an order of their own, for rows that are promised in none.
pub(crate) fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_cached_key(Value::to_string);
    rows
}
