//! What a replica knows of its group.

use serde::{Deserialize, Serialize};

use crate::error::Fatal;
use crate::types::{GroupId, Index, LogId, Membership, NodeId, Term};

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Receives the log and has no vote.
    #[default]
    Learner,
    /// Receives the log and votes.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Leads, as far as it knows.
    Leader,
    /// Has stopped on this node.
    Stopped,
}

/// Who leads, as one replica knows it: what routing needs, and what [`crate::Group::watch`] shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The replica's term.
    pub term: Term,
    /// The leader of that term, once a quorum has elected it.
    pub leader: Option<NodeId>,
    /// What this replica is.
    pub role: Role,
    /// The membership that this replica acts on, committed or not.
    pub membership: Membership,
    /// Why this replica has stopped, if it has.
    pub stopped: Option<Fatal>,
}

/// All that a replica knows of its group, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The replica's node.
    pub node: NodeId,
    /// The group.
    pub group: GroupId,
    /// Who leads.
    pub leadership: Leadership,
    /// The last index of its log.
    pub last: Option<Index>,
    /// What it knows to be committed.
    pub committed: Option<LogId>,
    /// What it has applied.
    pub applied: Option<LogId>,
    /// What its newest snapshot covers.
    pub snapshot: Option<LogId>,
    /// What its log no longer holds.
    pub purged: Option<LogId>,
    /// About how many bytes its log holds.
    pub log_bytes: u64,
    /// On the leader: how far each other replica's log is known to agree.
    pub replication: Vec<(NodeId, Option<LogId>)>,
}

/// A [`Status`] as it travels between nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The replica's node.
    pub node: NodeId,
    /// What the replica is.
    pub role: Role,
    /// The replica's term.
    pub term: Term,
    /// The leader of that term, once a quorum has elected it.
    pub leader: Option<NodeId>,
    /// The membership that the replica acts on.
    pub membership: Membership,
    /// The last index of its log.
    pub last: Option<Index>,
    /// What it knows to be committed.
    pub committed: Option<Index>,
    /// What it has applied.
    pub applied: Option<Index>,
    /// What its newest snapshot covers.
    pub snapshot: Option<Index>,
    /// About how many bytes its log holds.
    pub log_bytes: u64,
}

impl From<Status> for Described {
    fn from(status: Status) -> Self {
        let index = |id: LogId| id.index;
        Described {
            node: status.node,
            role: status.leadership.role,
            term: status.leadership.term,
            leader: status.leadership.leader,
            membership: status.leadership.membership,
            last: status.last,
            committed: status.committed.map(index),
            applied: status.applied.map(index),
            snapshot: status.snapshot.map(index),
            log_bytes: status.log_bytes,
        }
    }
}
