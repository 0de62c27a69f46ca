//! A query and its answer.

use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use tokio::time::Instant;

use super::Travelled;
use crate::data::ReadConsistency;
use crate::error::Failed;

/// A statement that reads, and how.
#[derive(Clone, Debug)]
pub struct Query {
    /// The statement.
    pub sql: String,
    /// The values of `$1`, `$2`, ...
    pub params: Vec<ScalarValue>,
    /// How fresh the rows must be.
    pub consistency: ReadConsistency,
    /// How long a shard may take.
    pub timeout: Duration,
    /// When to have answered at the latest.
    pub deadline: Instant,
}

/// What the shards that answered in time have.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rows as a JSON list of objects.
    pub rows: String,
    /// How many rows that is.
    pub row_count: usize,
    /// What the rows look like.
    pub schema: SchemaRef,
    /// How many shards there are.
    pub shards_total: usize,
    /// The shards that have no part in it, in order.
    pub failed: Vec<Failed>,
    /// What else the client should know.
    pub warnings: Vec<String>,
    /// What came from the shards, by fragment.
    pub travelled: Vec<Travelled>,
}

impl Answer {
    /// How many shards have a part in it.
    pub fn shards_responded(&self) -> usize {
        self.shards_total - self.failed.len()
    }

    /// How many rows came from the shards.
    pub fn rows_travelled(&self) -> u64 {
        self.travelled.iter().map(|fragment| fragment.rows).sum()
    }
}
