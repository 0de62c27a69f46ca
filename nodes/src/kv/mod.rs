//! The sharded key-value store: what routes to its groups, and what moves its shards.
//!
//! Promises: a client's operation takes effect once, whatever is retried and wherever its shard goes; a move is carried
//! on by whoever leads, from the replicated state alone.
//! Leaves out: the state machines themselves, which are `quorate-statemachines`.

mod client;
mod configure;
mod driver;
mod pull;
mod reach;
mod sessions;
mod store;

pub use client::{KvClient, KvError, ScanPage, ScanRange};
pub use driver::{Driver, DriverOptions};
pub use reach::{Directory, Reach};
pub use store::{ShardedStore, StoreOptions};
