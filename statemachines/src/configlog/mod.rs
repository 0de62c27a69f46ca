//! The configuration log: which group serves which shard, as a numbered sequence of configurations.
//!
//! Promises: numbers grow and every configuration names the one before it, so a reader that follows [`Query::After`]
//! skips none; a rebalancing moves the fewest shards and leaves sizes within one of each other; each configuration
//! remembers for every shard the last group that held its data, however many configurations ago that was. Beside them the
//! log keeps the cluster's [`Book`]: its nodes, where they are, and the ids that are used up.
//! Leaves out: moving the data (each group's own log does, by its [`plan()`]), and forgetting: every configuration is
//! kept.

mod book;
mod command;
mod config;
mod machine;
mod plan;
#[cfg(test)]
mod properties;
mod rebalance;
mod record;

pub use book::{Book, NodeAddresses, NodeChange, NodeRefusal, server_name, server_node};
pub use command::{Answer, Command, Query, Refusal, Reply};
pub use config::{Config, Holder};
pub use machine::{ConfigLog, SHARDS_MAX};
pub use plan::{NotConsecutive, plan};
pub use rebalance::rebalance;
