//! What a shard gives to queries: a view of its tables at one moment, as fresh as they ask for.
//!
//! Promises: a view does not change while it is read, whatever is written meanwhile.

mod cache;
mod local;
mod remote;
mod replica;
mod sight;
mod view;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use quorate_nodes::kv::Reach;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::KvMachine;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

pub use self::cache::CacheOptions;
pub use self::local::KvShardData;
pub use self::remote::ServerShard;
pub use self::replica::ReplicaData;
pub use self::sight::Sight;
pub use self::view::KvView;
use crate::scatter::Executor;
use crate::schema::TableSchema;

/// One shard's rows, wherever they are.
#[async_trait]
pub trait ShardData: Send + Sync {
    /// The shard at one moment, as fresh as `consistency` asks, or why there is none by the deadline.
    async fn view(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<dyn ShardView>, ShardError>;
}

/// A shard that is written to as well.
#[async_trait]
pub trait ShardStore: ShardData + fmt::Debug {
    /// The shard at one moment, with its single values.
    ///
    /// # Errors
    /// [`ShardError`] when there is none by the deadline.
    async fn look(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<KvView>, ShardError>;

    /// The same, linearizable, where only `sight` of it is needed.
    ///
    /// # Errors
    /// [`ShardError`] when there is none by the deadline.
    async fn see(&self, sight: &Sight, deadline: Instant) -> Result<Arc<KvView>, ShardError> {
        let _ = sight;
        self.look(ReadConsistency::Linearizable, deadline).await
    }

    /// Which shard it is.
    fn shard(&self) -> ShardId;

    /// The way to its group.
    fn reach(&self) -> &dyn Reach<KvMachine>;

    /// About how many bytes of keys and values one statement may change here.
    fn part_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// How fresh a view must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadConsistency {
    /// It has everything that was acknowledged before it was asked for.
    Linearizable,
    /// It has everything that was acknowledged so long before it was asked for; a follower may give it.
    Bounded(Duration),
}

/// Why a shard gives no view, or no batches of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ShardError {
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// It cannot answer now: stopped, or without a leader.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It answered that it cannot.
    #[error("{0}")]
    Failed(String),
}

/// A shard's tables at one moment.
pub trait ShardView: Send + Sync {
    /// The tables that this shard knows, in the order of their names.
    fn tables(&self) -> Vec<Arc<TableSchema>>;

    /// The table of this name, if this shard knows it.
    fn table(&self, name: &str) -> Option<Arc<TableSchema>>;

    /// The table's rows on this shard, in the order of the primary key, all columns, in batches of about 8192 rows.
    fn batches(&self, table: &TableSchema) -> Result<Arc<[RecordBatch]>, ShardError>;

    /// How many rows that is, if it can be said without reading them elsewhere.
    fn rows(&self, table: &TableSchema) -> Option<usize> {
        let batches = self.batches(table).ok()?;
        Some(batches.iter().map(|batch| batch.num_rows()).sum())
    }

    /// What runs parts of plans over this view, if its rows are in another process.
    fn executor(&self) -> Option<Arc<dyn Executor>> {
        None
    }
}
