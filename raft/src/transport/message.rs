//! What nodes say to each other, as values. Adapters that cross a process encode them (postcard, versioned).

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{AdminError, ReadError, WriteError};
use crate::group::Described;
use crate::log::{Entry, Write};
use crate::machine::{CommandVersion, Versions};
use crate::reads::{Consistency, ReadReply};
use crate::snapshot::SnapshotMeta;
use crate::types::{Index, LogId, NodeId, Term, Vote};

/// What a node asks of a group's replica on another node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// AppendEntries (thesis §3.5); a heartbeat when it has no entries.
    Append(Append),
    /// RequestVote (thesis §3.4).
    Vote(Ballot),
    /// The question before a real candidacy (thesis §9.6).
    PreVote(Ballot),
    /// The old leader's word that the receiver may stand at once (thesis §3.10).
    Transfer {
        /// The old leader's vote.
        from: Vote,
        /// Who is to lead.
        to: NodeId,
        /// The entry that the new leader must have.
        last: Option<LogId>,
    },
    /// A piece of a snapshot (thesis §5).
    Snapshot(Chunk),
    /// Asks the leader for a read index (thesis §6.4).
    ReadIndex,
    /// A write that the sender took for its leader.
    Write(ForwardedWrite),
    /// A read that the sender took for its leader.
    Read(ForwardedRead),
    /// A change of membership or leadership that the sender took for its leader.
    Admin(ForwardedAdmin),
    /// Who leads, as far as the receiver knows.
    WhoLeads,
    /// Waits, at most for `timeout`, until the receiver has applied more than `past`.
    Applied {
        /// What the asker knows to be applied.
        past: Option<Index>,
        /// How long the asker waits.
        timeout: Duration,
    },
    /// What the receiver knows of its group.
    Describe,
    /// The leader's last round before the group falls quiet.
    Quiesce(Quiesce),
    /// Asks a quiet leader to wake; answered as `WhoLeads` once a quorum has confirmed it.
    Wake,
    /// Whether the node is alive, whatever groups it has.
    Ping,
    /// Which versions of commands the receiver's program can apply.
    Versions,
    /// The digest of the receiver's state at an entry that asked for one; waits for it at most for `timeout`.
    Digest {
        /// The entry.
        at: Index,
        /// How long the asker waits.
        timeout: Duration,
    },
}

/// What a replica answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To `Append`.
    Append(Appended),
    /// To `Vote` and `PreVote`.
    Vote {
        /// The receiver's vote.
        vote: Vote,
        /// Whether it was given.
        granted: bool,
        /// The receiver's last entry.
        last: Option<LogId>,
    },
    /// To `Transfer`: the reason it was refused, if it was.
    Transfer(Result<(), String>),
    /// To `Snapshot`: how much of the snapshot the receiver holds, or, at its end, the receiver's vote.
    Snapshot(ChunkReply),
    /// To `ReadIndex`: every read from this index on sees all that was acknowledged before the question.
    ReadIndex(Result<ReadIndex, ReadError>),
    /// To `Write`.
    Write(Result<Vec<WriteResult>, WriteError>),
    /// To `Read`.
    Read(Result<ReadReply<Bytes>, ReadError>),
    /// To `Admin`.
    Admin(Result<(), AdminError>),
    /// To `WhoLeads`.
    Leader {
        /// The leader that the receiver knows of.
        leader: Option<NodeId>,
        /// The receiver's term.
        term: Term,
    },
    /// The group is not hosted there, or has stopped there: nothing was done.
    Refused(crate::error::Rejected),
    /// To `Applied`: what the receiver has applied.
    Applied(Option<Index>),
    /// To `Describe`.
    Described(Box<Described>),
    /// To `Quiesce`: whether the receiver keeps no time from now on.
    Quiesced(bool),
    /// To `Ping`.
    Alive {
        /// Another one in each life of the node, and after a group that it led has stopped there.
        life: u64,
    },
    /// To `Versions`.
    Versions(Versions),
    /// To `Digest`: nothing when there was none in time.
    Digest(Option<u64>),
}

/// AppendEntries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Append {
    /// The leader's vote.
    pub vote: Vote,
    /// The entry before the first one sent.
    pub previous: Option<LogId>,
    /// The entries.
    pub entries: Vec<Entry>,
    /// What the leader has committed.
    pub committed: Option<LogId>,
}

/// The answer to AppendEntries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Appended {
    /// All entries are in the receiver's log, durably.
    Success,
    /// Entries up to this one are.
    Partial(Option<LogId>),
    /// The receiver's log does not hold the entry before the first.
    Conflict,
    /// The receiver has voted in a higher term.
    HigherVote(Vote),
}

/// Word that the group falls quiet: to be agreed to by a replica that holds and has applied exactly what the leader has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiesce {
    /// The leader's vote.
    pub vote: Vote,
    /// Where the log ends: committed, and applied by the leader.
    pub last: LogId,
    /// What the leader's node answers to pings.
    pub life: u64,
}

/// RequestVote.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ballot {
    /// The vote asked for.
    pub vote: Vote,
    /// The candidate's last entry.
    pub last: Option<LogId>,
    /// Whether the candidate stands on the old leader's word, so that its lease is no obstacle.
    pub transfer: bool,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chunk {
    /// The sender's vote.
    pub vote: Vote,
    /// Which snapshot.
    pub meta: SnapshotMeta,
    /// Where the piece starts, in bytes.
    pub offset: u64,
    /// The piece.
    pub bytes: Bytes,
    /// Whether it is the last one.
    pub done: bool,
}

/// The answer to a piece of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ChunkReply {
    /// The receiver holds so many bytes: send from there on.
    Held(u64),
    /// The snapshot is installed, or not needed; the receiver's vote says whether its sender still leads.
    Installed(Vote),
    /// The receiver could not take it.
    Failed(String),
}

/// A read index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadIndex {
    /// The leader's term.
    pub term: Term,
    /// Apply this far before answering.
    pub index: Option<Index>,
}

/// What became of one write: where it stands in the log and what the machine said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteOutcome {
    /// The entry.
    pub at: LogId,
    /// The machine's encoded reply.
    pub reply: Bytes,
    /// Whether the command had been carried out before and this is its first reply again; `at` is then the entry
    /// that asked again.
    pub replayed: bool,
}

/// One write of a batch: its outcome or its error.
pub type WriteResult = Result<WriteOutcome, WriteError>;

/// Writes handed on to the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForwardedWrite {
    /// The writes, to be appended in this order.
    pub writes: Vec<Write>,
    /// How often they may be handed on yet.
    pub hops_left: u8,
    /// How long the caller still waits.
    pub timeout: Duration,
}

/// A read handed on to the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForwardedRead {
    /// What its answer must prove.
    pub consistency: Consistency,
    /// The encoded query.
    pub query: Bytes,
    /// How often it may be handed on yet.
    pub hops_left: u8,
    /// How long the caller still waits.
    pub timeout: Duration,
}

/// A change of membership or leadership handed on to the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForwardedAdmin {
    /// What to change.
    pub change: Change,
    /// How often it may be handed on yet.
    pub hops_left: u8,
    /// How long the caller still waits.
    pub timeout: Duration,
}

/// A change of membership, of leadership, or of the version in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Let this node receive the log without a vote.
    AddLearner(NodeId),
    /// Add this node as a learner if need be, wait until it has caught up, and give it a vote.
    AddVoter(NodeId),
    /// Take this node, voter or learner, out of the group.
    Remove(NodeId),
    /// Add the second node as a voter, caught up, in the place of the first.
    Replace(NodeId, NodeId),
    /// Hand leadership to this voter.
    Transfer(NodeId),
    /// Put this version of the machine's commands in force.
    RaiseVersion(CommandVersion),
    /// Have all replicas compare their states.
    CompareStates,
}
