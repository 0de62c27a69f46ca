//! The commands of a shard group: what its log holds, and what each is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate::sessions::{Refusal, Stamp};
use quorate::types::{ClientId, Index};
use serde::{Deserialize, Serialize};

use super::batch::{Batch, BatchOutcome};
use super::transfer::{Chunk, Delta};
use super::value::Json;
use crate::names::{ConfigNumber, Gid, ShardId};

/// A change of a shard group. All but [`KvCommand::Op`] and [`KvCommand::Batch`] without a session change nothing when
/// they come twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvCommand {
    /// An operation on one key.
    Op {
        /// The shard that the key belongs to.
        shard: ShardId,
        /// The operation's place in its session; without one, it is applied as often as it comes.
        session: Option<Stamp>,
        /// The operation.
        op: KvOp,
    },
    /// Opens a client's session in one shard.
    OpenSession {
        /// The shard.
        shard: ShardId,
        /// Whose session.
        client: ClientId,
    },
    /// Goes on to the next configuration.
    Configure(Configure),
    /// At the destination: takes in a piece of the shard's copy.
    StageChunk {
        /// The shard.
        shard: ShardId,
        /// The configuration in which the shard was gained.
        number: ConfigNumber,
        /// What the source gave.
        chunk: Chunk,
    },
    /// At the destination: takes in what changed at the source.
    StageDelta {
        /// The shard.
        shard: ShardId,
        /// The configuration in which the shard was gained.
        number: ConfigNumber,
        /// What the source gave.
        delta: Delta,
    },
    /// At the destination: serves the shard, if its copy is whole.
    Install {
        /// The shard.
        shard: ShardId,
        /// The configuration in which the shard was gained.
        number: ConfigNumber,
        /// The last changes, taken in first: saves an entry between the freeze and the install.
        delta: Option<Delta>,
    },
    /// At the source: stops serving a shard that was lost, so that its copy can become whole.
    Freeze {
        /// The shard.
        shard: ShardId,
        /// The configuration in which it was lost.
        lost_at: ConfigNumber,
    },
    /// At the source: gives up the data of a shard that another group has installed.
    Delete {
        /// The shard.
        shard: ShardId,
        /// The configuration in which it was lost. A shard lost at any other is not touched.
        lost_at: ConfigNumber,
        /// Who has installed it.
        to: Gid,
    },
    /// Frees some of what was given up.
    Sweep {
        /// The shard.
        shard: ShardId,
        /// How much to free at most, about in keys.
        max_keys: u32,
    },
    /// At the destination: the source knows that the shard is installed here.
    Acknowledged {
        /// The shard.
        shard: ShardId,
        /// The configuration in which the source lost it.
        lost_at: ConfigNumber,
        /// The source.
        source: Gid,
    },
    /// An operator gives a pull up whose source is gone for good, and accepts the loss of its data. The shard is served
    /// with what this group itself still keeps of it, else empty; a copy that is not whole is thrown away.
    Abandon {
        /// The shard.
        shard: ShardId,
        /// The configuration in which the shard was gained.
        number: ConfigNumber,
    },
    /// An operation on several keys of one shard: all of its changes, or none.
    Batch {
        /// The shard that the keys belong to.
        shard: ShardId,
        /// Its statement's place in its session; without one, it is applied as often as it comes.
        session: Option<Stamp>,
        /// The changes, and what they rest on.
        batch: Batch,
    },
}

/// An operation on one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOp {
    /// Sets the value.
    Put {
        /// The key.
        key: Arc<str>,
        /// Its new value.
        value: Json,
    },
    /// Appends to the value (see [`Json::appended`]); a missing key gets `value` as it is.
    Append {
        /// The key.
        key: Arc<str>,
        /// What to append.
        value: Json,
    },
    /// Removes the key.
    Delete {
        /// The key.
        key: Arc<str>,
    },
    /// Sets the value if it is the expected one.
    Cas {
        /// The key.
        key: Arc<str>,
        /// The value expected.
        from: Json,
        /// The new value.
        to: Json,
        /// Whether a missing key gets the new value.
        create_if_not_exists: bool,
    },
}

impl KvOp {
    /// The key that it is about.
    pub fn key(&self) -> &Arc<str> {
        match self {
            KvOp::Put { key, .. } | KvOp::Append { key, .. } | KvOp::Delete { key } | KvOp::Cas { key, .. } => key,
        }
    }
}

/// A configuration as one group sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configure {
    /// Its number.
    pub number: ConfigNumber,
    /// The number of the one that it follows.
    pub previous: ConfigNumber,
    /// The shards of this group.
    pub shards: BTreeSet<ShardId>,
    /// How many shards there are in all.
    pub shard_count: u32,
    /// Where the data of gained shards is. A shard that is kept here resumes unless it is named.
    pub sources: BTreeMap<ShardId, Source>,
    /// Who gets the shards that are lost. One that nobody gets is kept here, frozen.
    pub targets: BTreeMap<ShardId, Gid>,
}

/// The group that holds the data of a gained shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The group.
    pub gid: Gid,
    /// The configuration that took the shard away from it; `None` when nobody told.
    pub taken_at: Option<ConfigNumber>,
}

/// What a command is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvReply {
    /// The operation was carried out.
    Done {
        /// What came of it.
        outcome: Outcome,
        /// Whether it was carried out by an earlier entry, of which this is the reply.
        replayed: bool,
    },
    /// The session is open.
    SessionOpened {
        /// Whether it is new, and so knows nothing of any earlier command.
        fresh: bool,
    },
    /// The shard is not served here; nothing was carried out or remembered.
    NotServed(NotServed),
    /// The session did not let the operation through.
    Session(Refusal),
    /// The answer to [`KvCommand::Configure`].
    Configured {
        /// What became of it.
        outcome: Configured,
        /// The shards that are on their way now, be it here or to another group.
        in_transfer: BTreeSet<ShardId>,
    },
    /// The answer to a step of a shard's move.
    Step(Step),
    /// The answer to [`KvCommand::Batch`], when the shard is served here and the session let it through.
    Batch {
        /// What came of it.
        outcome: BatchOutcome,
        /// Whether that was decided by an earlier entry, of which this is the reply.
        replayed: bool,
    },
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The value was put.
    Put,
    /// The value was appended.
    Appended,
    /// The old value and the new one do not go together; nothing changed.
    NotAppendable,
    /// The key is gone.
    Deleted {
        /// Whether it was there.
        existed: bool,
    },
    /// The value was the expected one, or missing and created.
    Swapped,
    /// `Cas`: there is no such key; nothing changed.
    Missing,
    /// `Cas`: the value is another one; nothing changed.
    Different,
}

/// Why a group does not serve a shard. Never remembered by a session: the same command may be served elsewhere, or later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NotServed {
    /// The group has no configuration yet.
    #[error("no configuration")]
    NoConfig,
    /// The shard is not this group's.
    #[error("wrong group as of configuration {number}")]
    WrongGroup {
        /// The configuration that this group is at.
        number: ConfigNumber,
        /// The group that was last known to take it, if any.
        group: Option<Gid>,
    },
    /// The shard is on its way.
    #[error("migrating as of configuration {number}")]
    Migrating {
        /// The configuration that this group is at.
        number: ConfigNumber,
        /// Where it goes, if it leaves.
        to: Option<Gid>,
        /// Where it comes from, if it comes here: that group serves it until it is handed over.
        from: Option<Gid>,
    },
}

/// The answer to a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Configured {
    /// It is in force.
    Applied,
    /// It was in force already, with this very content.
    SameAgain,
    /// Another configuration of this number is in force; nothing changed.
    Different,
    /// A newer one is in force; nothing changed.
    Older {
        /// Its number.
        current: ConfigNumber,
    },
    /// It does not follow the one in force; nothing changed.
    Gap {
        /// The number of the one in force.
        current: ConfigNumber,
    },
    /// The shards of the one in force are still on their way; nothing changed.
    Migrating,
}

/// The answer to a step of a shard's move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// It was carried out.
    Done,
    /// There was nothing to do: it was done before, or is about a shard or a configuration that has no such step left.
    Nothing,
    /// `StageChunk`, `StageDelta`, `Install`: it does not continue what is staged here. Ask for the work again.
    Misfit,
    /// `StageChunk`, `StageDelta`, `Install`: what it carries was damaged on its way.
    Damaged,
    /// `Install`: the copy is not whole yet.
    Incomplete,
    /// `Freeze`: the shard is frozen.
    Frozen {
        /// The entry since which it is.
        at: Index,
    },
    /// `Delete`: the shard is still served here; freeze it first.
    StillServed,
    /// `Sweep`: some was freed.
    Swept {
        /// How much is left, about in keys.
        left: u64,
    },
}
