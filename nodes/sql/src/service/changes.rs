//! Statements that change something: parsed where queries compute, carried out by `dml`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Query as SqlQuery, Statement as SqlStatement};
use quorate::env::Env;
use quorate_nodes::stdio::{ErrorReply, Reply};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::outcome;
use super::request::Scatter;
use crate::data::{ReadConsistency, ShardStore};
use crate::dml::{Context, Dml, Select, Shard, StatementError};
use crate::error::QueryError;
use crate::plan::statement::parse;
use crate::scatter::{Engine, Query};

/// What carries statements out, and the queries in them.
pub(super) struct Changes {
    dml: Arc<Dml>,
    engine: Arc<Engine>,
    sweeping: JoinHandle<()>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.sweeping.abort();
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl Changes {
    /// Looks for rows of dropped tables every `sweep`.
    pub(super) fn new(
        env: Arc<dyn Env>,
        shards: Vec<(String, Arc<dyn ShardStore>)>,
        engine: Arc<Engine>,
        sweep: Duration,
    ) -> Self {
        let shards = shards.into_iter().map(|(name, data)| Shard { name, data }).collect();
        let dml = Arc::new(Dml::new(env, shards));
        let sweeper = Arc::clone(&dml);
        let sweeping = tokio::spawn(async move { sweeper.sweep_forever(sweep).await });
        Changes { dml, engine, sweeping }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) async fn carry_out(&self, scatter: Scatter, deadline: Instant) -> Result<Reply, ErrorReply> {
        let Scatter { sql, params, timeout, stamp, .. } = scatter;
        let planner = self.engine.planner().clone();
        let parsed = self.engine.runtime().spawn(async move { parse(&sql, planner.state()) }).await;
        let parsed = parsed.map_err(|error| ErrorReply::crash(format!("a statement's task has failed: {error}")))?;
        let statement = match parsed.map_err(outcome::error)? {
            Statement::Statement(statement) if Dml::knows(&statement) => statement,
            other => return Err(unsupported(&other)),
        };
        let timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
        let select: Arc<dyn Select> =
            Arc::new(Selecting { engine: Arc::clone(&self.engine), params: params.clone(), timeout, deadline });
        let context = Context { session: stamp, timeout, params, select: Some(select) };
        let statement: SqlStatement = *statement;
        outcome::affected(self.dml.execute(&statement, context).await)
    }
}

fn unsupported(statement: &Statement) -> ErrorReply {
    let text: String = statement.to_string().chars().take(60).collect();
    ErrorReply::malformed(format!("this statement is not supported: {text}")).reason("sql")
}

/// The query of an INSERT.
struct Selecting {
    engine: Arc<Engine>,
    params: Vec<ScalarValue>,
    timeout: Duration,
    deadline: Instant,
}

#[async_trait]
impl Select for Selecting {
    async fn run(&self, query: &SqlQuery) -> Result<Vec<RecordBatch>, StatementError> {
        let query = Query {
            sql: query.to_string(),
            params: self.params.clone(),
            consistency: ReadConsistency::Linearizable,
            timeout: self.timeout,
            deadline: self.deadline,
        };
        self.engine.batches(query).await.map_err(|error| match error {
            QueryError::Wrong { .. } => StatementError::Invalid(error.to_string()),
            error => StatementError::Unavailable(error.to_string()),
        })
    }
}
