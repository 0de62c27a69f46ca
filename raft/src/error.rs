//! Errors by what they say about the operation: `Rejected` never happened, `Unknown` may have, `Fatal` ends this node.
//!
//! A refusal of the machine itself ("wrong shard", "no such key") is not an error but a reply.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{GroupId, NodeId};

/// Refused before anything was proposed: it did not happen and never will. Safe to retry as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Rejected {
    /// No leader was found within the deadline.
    #[error("no leader")]
    NoLeader,
    /// The node asked is not the leader.
    #[error("not the leader{}", leader.map(|l| format!("; {l} may be")).unwrap_or_default())]
    NotLeader {
        /// Who may be.
        leader: Option<NodeId>,
    },
    /// The leader is handing its leadership over, or has not heard from a quorum for too long to accept writes.
    #[error("the leader cannot accept writes now: {0}")]
    LeaderNotReady(String),
    /// Too much is in flight already.
    #[error("overloaded")]
    Overloaded,
    /// The deadline had passed before anything was proposed.
    #[error("deadline of {0:?} passed before anything was proposed")]
    Deadline(Duration),
    /// This node does not host the group.
    #[error("{0} is not hosted here")]
    NoSuchGroup(GroupId),
    /// The group or its host is shutting down, or has stopped.
    #[error("stopped")]
    Stopped,
    /// The request itself is wrong.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The session refused the command; see [`crate::sessions::Refusal`].
    #[error("session: {0}")]
    Session(crate::sessions::Refusal),
    /// A read could not meet its consistency: the bound cannot be met here and the leader does not answer.
    #[error("the consistency asked for cannot be met: {0}")]
    Consistency(String),
    /// The leader's log takes no entries until its disk has room again.
    #[error("the leader's disk is full: {0}")]
    DiskFull(String),
}

/// The outcome cannot be known from here: it may have happened, or may still. Retry only through a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Unknown {
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The leader that held the entry lost its leadership.
    #[error("leadership was lost with the entry's fate open")]
    LeaderLost,
    /// The peer that carried the request did not answer, or its answer was lost.
    #[error("the peer's answer was lost: {0}")]
    AnswerLost(String),
    /// The session no longer knows whether the command was carried out; see [`crate::sessions::Refusal`].
    #[error("session: {0}")]
    Session(crate::sessions::Refusal),
}

/// This replica cannot go on: a store failed, or an invariant broke. The group has stopped on this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("fatal: {0}")]
pub struct Fatal(pub String);

/// How a write can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum WriteError {
    /// It did not happen.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It may have happened.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The node that carried it has stopped; it may have happened.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl WriteError {
    /// Whether the write is known not to have happened.
    pub fn is_definite(&self) -> bool {
        matches!(self, WriteError::Rejected(_))
    }
}

/// How a read can fail. A failed read changed nothing, so every failure is definite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ReadError {
    /// It was not carried out.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// No answer within the deadline.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// This replica has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// How a change of membership, a transfer or a snapshot can fail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum AdminError {
    /// It did not happen.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// It may have happened, or may be half done.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// The node that carried it has stopped.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

impl From<WriteError> for AdminError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(cause) => AdminError::Rejected(cause),
            WriteError::Unknown(cause) => AdminError::Unknown(cause),
            WriteError::Fatal(cause) => AdminError::Fatal(cause),
        }
    }
}
