//! The questions to a shard group, and their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate::types::Index;
use serde::{Deserialize, Serialize};

use super::command::NotServed;
use super::marks::Item;
use super::transfer::{Chunk, Delta, Reached};
use super::value::Json;
use crate::names::{ConfigNumber, Gid, ShardId};

/// A question to a shard group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvQuery {
    /// A key's value.
    Get {
        /// The shard that the key belongs to.
        shard: ShardId,
        /// The key.
        key: Arc<str>,
    },
    /// The keys of one shard in their order.
    Scan(Scan),
    /// What the group holds.
    Status,
    /// What a driver of shard moves has to do now.
    Work,
    /// At any replica of a source: the next piece of a shard.
    PullChunk {
        /// The shard.
        shard: ShardId,
        /// Who pulls it, and which loss of it.
        pull: Pull,
        /// Where the copy ends so far.
        after: Option<Item>,
        /// About how large the piece may be; it holds one item at least.
        max_bytes: u64,
    },
    /// At any replica of a source: what changed since.
    PullDelta {
        /// The shard.
        shard: ShardId,
        /// Who pulls it, and which loss of it.
        pull: Pull,
        /// How far the copy has come.
        from: Reached,
        /// About how large the answer may be; it holds the changes of one entry at least.
        max_bytes: u64,
    },
    /// At a destination: whether it has what `source` lost.
    Installed {
        /// The shard.
        shard: ShardId,
        /// The group that asks.
        source: Gid,
        /// The configuration in which that group lost the shard.
        lost_at: ConfigNumber,
    },
}

/// Who pulls, and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// The destination.
    pub puller: Gid,
    /// The configuration in which the source lost the shard. With it any replica of the source may be asked, however far
    /// it lags. Without it ask for a linearizable answer: a replica that lags could give an older loss of the shard.
    pub taken_at: Option<ConfigNumber>,
}

/// Which keys of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The shard.
    pub shard: ShardId,
    /// Only keys from this one on.
    pub from: Option<Arc<str>>,
    /// Only keys before this one.
    pub to: Option<Arc<str>>,
    /// Only keys that begin so.
    pub prefix: Option<Arc<str>>,
    /// How many at most.
    pub limit: Option<u64>,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvAnswer {
    /// `Get`: the value, if the key exists.
    Value(Option<Json>),
    /// `Scan`: the keys and their values.
    Items {
        /// In the order of the keys.
        items: Vec<(Arc<str>, Json)>,
        /// Whether it ends early (by the limit, or by size) and more may follow the last key.
        more: bool,
    },
    /// `Get`, `Scan`: the shard is not served here.
    NotServed(NotServed),
    /// `Status`.
    Status(Status),
    /// `Work`.
    Work(Work),
    /// `PullChunk`, `PullDelta`.
    Pulled(Pulled),
    /// `Installed`: whether it is; `false` may mean "not yet".
    Installed(bool),
}

/// What a source answers to a pull.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pulled {
    /// This replica has not lost the shard yet, or not to the one that asks. Ask again, or another replica.
    NotYet,
    /// The data was given up here.
    Done,
    /// This replica has applied less than the copy holds. Ask another one.
    Behind,
    /// A piece of the shard.
    Chunk(Chunk),
    /// What changed.
    Delta(Delta),
}

/// What a group holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The configuration in force; 0 when there is none yet.
    pub number: ConfigNumber,
    /// Whether its moves are done, so that the next one may follow.
    pub settled: bool,
    /// How many shards there are in all.
    pub shard_count: u32,
    /// The shards of which something is here.
    pub shards: BTreeMap<ShardId, ShardStatus>,
}

/// What a group holds of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    /// What it is doing.
    pub state: ShardState,
    /// How many keys; of a shard that is pulled, how many have come.
    pub keys: u64,
    /// The bytes of the keys and their values.
    pub bytes: u64,
    /// How many sessions.
    pub sessions: u64,
}

/// What a shard is doing at a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardState {
    /// It is served.
    Serving,
    /// It was lost and is still served, while the other group copies it.
    Outgoing,
    /// It was lost and is no longer served.
    Frozen,
    /// It was gained and is being copied.
    Pulling,
    /// It was given up, and what is left of it is being freed.
    Deleting,
}

/// What a driver of shard moves has to do now. It follows from the replicated state alone, so any later leader goes on
/// where an earlier one stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The configuration in force; 0 when there is none yet.
    pub number: ConfigNumber,
    /// Whether the next one may follow.
    pub settled: bool,
    /// Shards to copy from another group.
    pub pulls: Vec<PullWork>,
    /// Shards that another group is to copy: it may be asked whether it has installed them.
    pub hand_offs: Vec<HandOffWork>,
    /// Shards that are installed here, of which the source is to be told (`Delete`, after a `Freeze` if it says
    /// [`super::Step::StillServed`]).
    pub acks: Vec<AckWork>,
    /// Shards of which something is to be freed.
    pub sweeps: Vec<SweepWork>,
}

/// A shard to copy, and how far the copy is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullWork {
    /// The shard.
    pub shard: ShardId,
    /// The configuration in which it was gained.
    pub number: ConfigNumber,
    /// Where from, and what to put into [`Pull::taken_at`].
    pub source: Gid,
    /// What to put into [`Pull::taken_at`].
    pub taken_at: Option<ConfigNumber>,
    /// The configuration in which the source lost it, once a chunk has told: what to freeze.
    pub lost_at: Option<ConfigNumber>,
    /// Where the copy ends.
    pub after: Option<Item>,
    /// Whether all chunks have come; then deltas follow.
    pub copied: bool,
    /// How far the copy has followed the source: where the next delta starts.
    pub reached: Option<Reached>,
    /// The source's entry that froze the shard, as far as known here.
    pub frozen_at: Option<Index>,
    /// Whether the copy is whole: install it.
    pub whole: bool,
    /// How many keys have come.
    pub keys: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A shard that leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOffWork {
    /// The shard.
    pub shard: ShardId,
    /// The configuration in which it was lost.
    pub lost_at: ConfigNumber,
    /// Where it goes.
    pub to: Gid,
    /// The entry that lost it.
    pub since: Index,
    /// The entry that froze it; `None` while it is still served.
    pub frozen_at: Option<Index>,
}

/// An acknowledgement to send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckWork {
    /// The shard.
    pub shard: ShardId,
    /// The configuration in which the source lost it.
    pub lost_at: ConfigNumber,
    /// The source.
    pub source: Gid,
}

/// Something to free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepWork {
    /// The shard.
    pub shard: ShardId,
    /// How much is left, about in keys.
    pub left: u64,
}
