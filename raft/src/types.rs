//! The vocabulary of the library: small types that carry meaning, so that an index is never mistaken for a term.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl From<u64> for $name {
            fn from(value: u64) -> Self {
                $name(value)
            }
        }
    };
}

number!(
    /// A process that takes part in groups. Never reused for another process.
    NodeId,
    "n"
);
number!(
    /// A Raft group: one log, one state machine, several replicas.
    GroupId,
    "g"
);
number!(
    /// A leader's period of office (Raft thesis §3.2).
    Term,
    "t"
);
number!(
    /// A position in a group's log; the first entry has index 0.
    Index,
    ""
);
number!(
    /// One life of a node, random at each start: a reply to an earlier life counts for nothing.
    Incarnation,
    "i"
);
number!(
    /// The cluster that a node belongs to; messages of another cluster are dropped.
    ClusterId,
    "c"
);

impl Index {
    /// The index after this one.
    pub fn next(self) -> Index {
        Index(self.0 + 1)
    }
}

/// The time of the log in milliseconds: the leader's wall clock, made monotonic through the log.
///
/// It is the only time that a state machine ever sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogTime(pub u64);

impl LogTime {
    /// How long ago `earlier` was; zero when it is not earlier.
    pub fn since(self, earlier: LogTime) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// The name of a client that opens sessions. Chosen by the client; random for the library's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub Arc<str>);

impl ClientId {
    /// A client of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        ClientId(name.into())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry's place in the log and the term that put it there: unique in a group (log matching, thesis §3.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// The entry's index.
    pub index: Index,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// What a replica must remember before it answers a candidate or a leader (thesis §3.4, `votedFor`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    /// The term voted in.
    pub term: Term,
    /// The candidate voted for.
    pub node: NodeId,
    /// Whether a quorum granted it: the candidate is that term's leader.
    pub committed: bool,
}

impl fmt::Display for Vote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}{}", self.term, self.node, if self.committed { "+" } else { "-" })
    }
}

/// Who replicates a group: one voter set, or two while a change is under way (joint consensus, thesis §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// One set of voters; two during a joint change, when each needs its own majority.
    pub voters: Vec<BTreeSet<NodeId>>,
    /// Replicas that receive the log and have no vote.
    pub learners: BTreeSet<NodeId>,
}

impl Membership {
    /// All voters, of both sets in a joint change.
    pub fn voter_ids(&self) -> BTreeSet<NodeId> {
        self.voters.iter().flatten().copied().collect()
    }

    /// Whether `node` has a vote.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.iter().any(|set| set.contains(&node))
    }

    /// Whether `node` replicates the group at all.
    pub fn contains(&self, node: NodeId) -> bool {
        self.is_voter(node) || self.learners.contains(&node)
    }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "voters {:?}, learners {:?}", self.voters, self.learners)
    }
}
