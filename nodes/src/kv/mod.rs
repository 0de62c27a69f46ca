//! The sharded key-value store: what routes to its groups, and what moves its shards.
//!
//! Promises: a client's operation takes effect once, whatever is retried and wherever its shard goes; a move is carried
//! on by whoever leads, from the replicated state alone.
//! Leaves out: the state machines themselves, which are `quorate-statemachines`.

mod attempts;
mod batch;
#[cfg(test)]
mod batch_tests;
mod client;
mod configure;
mod direct;
#[cfg(test)]
mod direct_tests;
mod driver;
mod error;
mod groups;
mod operate;
mod pull;
mod reach;
pub(crate) mod sessions;
mod store;

pub use batch::{BatchPart, BatchWriter, Decided, StatementNumber};
pub use client::{KvClient, ScanPage, ScanRange};
pub use direct::{DirectClient, Target};
pub use driver::{Driver, DriverOptions};
pub use error::KvError;
pub use groups::ShardGroups;
pub use reach::{Directory, Reach};
pub use store::{ShardedStore, StoreOptions};
