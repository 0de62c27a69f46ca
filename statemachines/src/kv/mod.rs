//! A group of key-value shards: the state machine that serves them and moves them to other groups while it does.
//!
//! A configuration gives a group its shards ([`Configure`]). A shard that it takes away is *outgoing*: served on, while its
//! changes are marked. The group that gains it stages a copy of it (chunks, then deltas of what was marked), has it
//! *frozen* when little is left, takes the last delta and *installs* it; then the source *deletes* its data. Each step is
//! an entry of one of the two groups; what to do next follows from their states alone ([`KvQuery::Work`]).
//!
//! Promises: a shard is served by one group at a time; what was acknowledged before a move is there after it, what was
//! deleted stays deleted, and an operation of a session takes effect once, whichever group it reaches; a step that comes
//! twice, late or out of order changes nothing; a command costs the same however much data there is; a snapshot is O(1). All of it alike whether the keys are in
//! memory or on a disk ([`KvMachine::open`]), where there may be more of them than memory takes.
//! Leaves out: who drives the moves; which configuration is next (the configuration log); which shard a key belongs to.

mod batch;
mod command;
mod configure;
mod contents;
mod destination;
mod durable;
mod lost;
mod machine;
mod marks;
mod operations;
mod query;
mod remains;
mod report;
mod snapshot;
mod source;
mod staged;
mod state;
mod store;
mod transfer;
mod value;
mod view;

#[cfg(test)]
mod tests;

pub use batch::{Batch, BatchOutcome, Change, Check, Expect};
pub use command::{Configure, Configured, KvCommand, KvOp, KvReply, NotServed, Outcome, Source, Step};
pub use machine::KvMachine;
pub use marks::Item;
pub use query::{
    AckWork, HandOffWork, KvAnswer, KvQuery, Pull, PullWork, Pulled, Scan, ShardState, ShardStatus, Status, SweepWork,
    Work,
};
pub use store::{KvDatabase, KvDatabaseOptions, StoreError};
pub use transfer::{Chunk, Delta, Reached};
pub use value::Json;
pub use view::ShardKeys;
