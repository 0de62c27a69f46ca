//! The workloads that there are.
//!
//! `echo`, `unique-ids` and `broadcast` are for newcomers, `lin-kv` is for any register, the others know what Quorate's
//! binaries promise.

mod broadcast;
mod echo;
mod follower_reads;
mod halves;
mod lin_kv;
mod masters;
mod rows;
mod scatter;
mod strings;
mod unique_ids;
mod verdicts;

use std::sync::Arc;

pub use broadcast::Broadcast;
pub use echo::Echo;
pub use follower_reads::FollowerReads;
pub use lin_kv::LinKv;
pub use masters::Masters;
pub use rows::Row;
pub use scatter::Scatter;
pub use strings::{Keys, Strings};
pub use unique_ids::UniqueIds;

use super::workload::Workload;

/// A workload, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WorkloadName {
    /// Nodes say what they are told.
    Echo,
    /// Nodes make up names, no two the same.
    UniqueIds,
    /// Every node comes to know every value.
    Broadcast,
    /// Registers: read, write, compare-and-set; linearizable.
    LinKv,
    /// Strings: get, put, append, retried until they are done; linearizable.
    Kvraft,
    /// As kvraft, on a store whose shards move while its groups join and leave.
    ShardedKv,
    /// As kvraft, on two groups between which shards move.
    ShardMoves,
    /// Reads that say how old their answers may be.
    FollowerReads,
    /// Metadata masters: one primary in each epoch, nothing lost.
    Masters,
    /// SQL over shards: partial answers that say so.
    Scatter,
}

impl WorkloadName {
    /// The workload of this name, as it is usually run.
    pub fn workload(self) -> Arc<dyn Workload> {
        match self {
            WorkloadName::Echo => Arc::new(Echo),
            WorkloadName::UniqueIds => Arc::new(UniqueIds),
            WorkloadName::Broadcast => Arc::new(Broadcast::default()),
            WorkloadName::LinKv => Arc::new(LinKv::default()),
            WorkloadName::Kvraft => Arc::new(Strings::kvraft(Keys::Shared(10))),
            WorkloadName::ShardedKv => Arc::new(Strings::sharded()),
            WorkloadName::ShardMoves => Arc::new(Strings::moved()),
            WorkloadName::FollowerReads => Arc::new(FollowerReads::default()),
            WorkloadName::Masters => Arc::new(Masters::default()),
            WorkloadName::Scatter => Arc::new(Scatter::default()),
        }
    }
}
