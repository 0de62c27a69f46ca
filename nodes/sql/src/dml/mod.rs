//! Statements that change something: CREATE and DROP TABLE, INSERT, UPDATE, DELETE.
//!
//! A statement's way: what can be known without rows is checked and worked out first; then each shard concerned works out
//! its part over its own rows at a read index, and writes it as one entry, with what it rests on.
//!
//! Promises: a statement is atomic on each shard; it takes effect once there, whichever leader dies; rows that others
//! change meanwhile are never overwritten unseen; it succeeds only if every shard concerned has confirmed, and fails with
//! a definite error only if no shard kept anything.
//! Leaves out: atomicity and isolation across shards (what became of each is told); rows that appear while an UPDATE or a
//! DELETE is worked out are not in it, as if they came after it.

mod change;
mod error;
mod evaluate;
mod insert;
mod parts;
mod sweep;
mod tables;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::execution::session_state::SessionState;
use datafusion::sql::sqlparser::ast::{Query, Statement};
use futures::stream::{FuturesUnordered, StreamExt};
use quorate::env::Env;
use quorate::sessions::{Stamp, digest};
use quorate_nodes::kv::{BatchWriter, StatementNumber};
use tokio::time::Instant;

pub use self::error::{PartOutcome, StatementError};
use self::evaluate::Evaluator;
use self::parts::Run;
use crate::data::{KvView, ShardStore, ShardView, Sight};
use crate::schema::TableSchema;

/// A shard by its name.
#[derive(Clone)]
pub struct Shard {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub data: Arc<dyn ShardStore>,
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Carries statements out. Shared by all callers of a process.
pub struct Dml {
    shards: Vec<Shard>,
    writer: BatchWriter,
    functions: SessionState,
}

impl fmt::Debug for Dml {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dml").field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// Runs the SELECT of an INSERT.
#[async_trait]
pub trait Select: Send + Sync {
    /// All rows of a query, from all shards: a part of them is an error.
    async fn run(&self, query: &Query) -> Result<Vec<RecordBatch>, StatementError>;
}

/// How a statement is to be carried out.
#[derive(Clone)]
pub struct Context {
    /// The number that the client gives the statement: with it, a retry takes effect once.
    pub session: Option<Stamp>,
    /// How long the shards have.
    pub timeout: Duration,
    /// The values of `$1` and so on.
    pub params: Vec<ScalarValue>,
    /// What runs the SELECT of an INSERT; without it there is none.
    pub select: Option<Arc<dyn Select>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("session", &self.session).finish_non_exhaustive()
    }
}

/// What a statement came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affected {
    /// How many rows changed.
    pub rows: u64,
    /// How many shards there are.
    pub shards_total: usize,
    /// How many of them confirmed, or were not concerned: all of them.
    pub shards_responded: usize,
}

impl Dml {
    /// For these shards, of which each row has one: the position in the list is the shard's number.
    pub fn new(env: Arc<dyn Env>, shards: Vec<Shard>) -> Self {
        Dml { shards, writer: BatchWriter::new(env), functions: evaluate::functions() }
    }

    /// Whether it is one of the statements that are carried out here.
    pub fn knows(statement: &Statement) -> bool {
        use Statement::{CreateTable, Delete, Drop, Insert, Update};
        matches!(statement, CreateTable(_) | Drop { .. } | Insert(_) | Update(_) | Delete(_))
    }

    /// Carries a statement out, once.
    ///
    /// # Errors
    /// [`StatementError`]; definite only if no shard kept anything, and none will.
    pub async fn execute(&self, statement: &Statement, context: Context) -> Result<Affected, StatementError> {
        let Context { session, timeout, params, select } = context;
        // Of a number that is our own nobody else has another statement.
        let digest = session.as_ref().map_or(0, |_| digest(format!("{statement}\0{params:?}").as_bytes()));
        let number = self.writer.number(session);
        let run = Run {
            shards: &self.shards,
            writer: &self.writer,
            number: &number,
            digest,
            deadline: Instant::now() + timeout,
        };
        let evaluator = Evaluator::new(&self.functions, params);
        let was_sent = run.may_have_happened();
        let result = match statement {
            Statement::CreateTable(create) => self.create_table(&run, create).await,
            Statement::Drop { object_type, if_exists, names, .. } => {
                self.drop_table(&run, *object_type, *if_exists, names).await
            }
            Statement::Insert(insert) => self.insert(&run, insert, &evaluator, select.as_deref()).await,
            Statement::Update(update) => self.update(&run, update, evaluator).await,
            Statement::Delete(delete) => self.delete(&run, delete, evaluator).await,
            _ => Err(StatementError::Invalid("this statement is not supported".into())),
        };
        match result {
            // Of what an earlier run came to this one says nothing.
            Err(error @ (StatementError::Unavailable(_) | StatementError::UnknownTable(_))) if was_sent => {
                Err(StatementError::Unknown(error.to_string()))
            }
            result => result,
        }
    }

    /// A table as some shard knows it: the first that answers so.
    async fn table(&self, run: &Run<'_>, name: &str) -> Result<Arc<TableSchema>, StatementError> {
        let mut views = self.views(run, &self.everywhere(), |_| Sight::Catalogue);
        let mut silent = None;
        while let Some((_, view)) = views.next().await {
            match view.map(|view| view.table(name)) {
                Ok(Some(table)) => return Ok(table),
                Ok(None) => {}
                Err(error) => silent = Some(error),
            }
        }
        Err(silent.unwrap_or_else(|| StatementError::UnknownTable(name.to_owned())))
    }

    /// The shards of these positions as they are now, in the order in which they answer.
    fn views<'a, S: Fn(usize) -> Sight>(
        &'a self,
        run: &Run<'_>,
        shards: &[usize],
        sight: S,
    ) -> FuturesUnordered<impl Future<Output = (usize, Result<Arc<KvView>, StatementError>)> + use<'a, S>> {
        let deadline = run.deadline;
        let look = |nth: &usize| {
            let (nth, data, sight) = (*nth, &self.shards[*nth].data, sight(*nth));
            async move { (nth, data.see(&sight, deadline).await.map_err(StatementError::from)) }
        };
        shards.iter().map(look).collect()
    }

    fn everywhere(&self) -> Vec<usize> {
        (0..self.shards.len()).collect()
    }
}

/// A name that no other statement has: of the table that it creates.
fn incarnation(number: &StatementNumber, statement: u64) -> String {
    let Stamp { client, seq, .. } = number.stamp();
    let half = |which: &str| digest(format!("{which}\0{}\0{seq}\0{statement}", client.0).as_bytes());
    format!("{:016x}{:016x}", half("first"), half("second"))
}
