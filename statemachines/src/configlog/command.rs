//! What the configuration log is told and asked, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Book, Config, NodeChange, NodeRefusal};
use crate::names::{ConfigNumber, Gid, ShardId};

/// A change. Each one that is carried out makes a new configuration, even when it assigns the same shards; only a change of
/// nodes that no group is touched by makes none.
///
/// The order of the variants, here and in what they hold, is part of the format on disk: new ones go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// New groups take their part of the shards.
    Join {
        /// The groups and their servers.
        groups: BTreeMap<Gid, Vec<String>>,
        /// How many shards there are if there is no configuration yet; without meaning afterwards.
        shard_count: u32,
    },
    /// Groups give all their shards to those that stay, or to nobody when none stays.
    Leave {
        /// The groups that leave.
        gids: BTreeSet<Gid>,
    },
    /// One shard goes to one group, balanced or not. The next join or leave balances again.
    Move {
        /// The shard.
        shard: ShardId,
        /// The group that gets it.
        gid: Gid,
    },
    /// A configuration made elsewhere, with its own number. Groups that it names become known; known ones stay known.
    Set {
        /// Its number, which must exceed the current one; holes are allowed.
        number: ConfigNumber,
        /// The assignment of every shard; nobody is `None` or the empty name.
        shards: BTreeMap<ShardId, Option<Gid>>,
    },
    /// A known group, or one that has left, gets other servers. It keeps its shards.
    Place {
        /// The group.
        gid: Gid,
        /// All its servers.
        servers: Vec<String>,
    },
    /// The cluster's nodes change.
    Nodes(NodeChange),
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was carried out.
    Done {
        /// The number of the configuration that it made, or of the current one if it made none.
        number: ConfigNumber,
    },
    /// The number of a [`Command::Set`] does not exceed the current one: nothing changed.
    NotApplied {
        /// The current number.
        current: ConfigNumber,
    },
    /// It asks for what cannot be: nothing changed.
    Refused(Refusal),
}

/// Why a change was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// A group that joins is known already.
    #[error("group {0} is known already")]
    KnownGroup(Gid),
    /// A group that leaves, or that is to get a shard, is not known.
    #[error("group {0} is not known")]
    UnknownGroup(Gid),
    /// A join or a leave names no group.
    #[error("no group named")]
    NoGroup,
    /// The empty name stands for nobody and cannot join.
    #[error("a group needs a name")]
    Nameless,
    /// The shard does not exist.
    #[error("there is no shard {0}")]
    UnknownShard(ShardId),
    /// The shards are not exactly 0 to n - 1, with the n of the first configuration.
    #[error("the shards must be exactly 0 to n - 1{}", .expected.map(|n| format!(" with n = {n}")).unwrap_or_default())]
    BadShards {
        /// The n, once a first configuration has fixed it.
        expected: Option<u32>,
    },
    /// The current number is the largest there is.
    #[error("no number is left for another configuration")]
    NumbersExhausted,
    /// It names nodes that cannot be meant.
    #[error("{0}")]
    Nodes(NodeRefusal),
}

impl From<NodeRefusal> for Refusal {
    fn from(refusal: NodeRefusal) -> Self {
        Refusal::Nodes(refusal)
    }
}

/// A question. "Configuration 0", without shards and groups, comes before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// The newest configuration.
    Latest,
    /// The newest configuration whose number is at most this one.
    At(ConfigNumber),
    /// The configuration that follows this number in the log: the oldest with a greater number.
    After(ConfigNumber),
    /// The address book.
    Book,
}

/// What a question answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// A configuration; `None` only when nothing follows yet ([`Query::After`]).
    Config(Option<Arc<Config>>),
    /// The address book ([`Query::Book`]).
    Book(Arc<Book>),
}

impl Answer {
    /// The configuration, if one was asked for and there is one.
    pub fn config(self) -> Option<Arc<Config>> {
        match self {
            Answer::Config(config) => config,
            Answer::Book(_) => None,
        }
    }

    /// The address book, if it was asked for.
    pub fn book(self) -> Option<Arc<Book>> {
        match self {
            Answer::Book(book) => Some(book),
            Answer::Config(_) => None,
        }
    }
}
