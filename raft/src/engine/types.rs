//! openraft's type parameters, filled with the library's own types: nothing is converted on the way of an entry.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use openraft::entry::{RaftEntry, RaftPayload};
use openraft::raft::responder::Responder;
use openraft::vote::{RaftLeaderId, RaftTerm};
use openraft::{OptionalSend, RaftTypeConfig};

use crate::log::{Entry, Payload, Proposal};
use crate::sessions::Refusal;
use crate::types::{Index, LogId, Membership, NodeId, Term, Vote};

use super::runtime::Runtime;

pub(crate) type RaftLogId = openraft::LogId<Term>;
pub(crate) type RaftVote = openraft::Vote<LeaderId>;
pub(crate) type RaftMembership = openraft::Membership<NodeId, ()>;
pub(crate) type StoredMembership = openraft::StoredMembership<Term, NodeId, ()>;
pub(crate) type RaftSnapshotMeta = openraft::SnapshotMeta<Term, NodeId, ()>;

/// The one type configuration of all groups of all machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Arc<Proposal>;
    type R = Outcomes;
    type NodeId = NodeId;
    type Node = ();
    type Term = Term;
    type LeaderId = LeaderId;
    type Vote = RaftVote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Answer<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::AnyError;
}

/// What `apply` did with each write of an entry; empty for an entry without writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcomes(pub(crate) Vec<Outcome>);

/// What `apply` did with a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was asked for is so: a session is open, a version in force.
    Done,
    /// The machine's encoded reply.
    Applied(bytes::Bytes),
    /// The first reply of a command carried out before.
    Replayed(bytes::Bytes),
    /// The session refused the command.
    Refused(Refusal),
    /// The machine cannot decode the command; nothing changed.
    Undecodable(String),
}

/// Who leads, or wants to: one leader a term (thesis §3.4), so leaders of the same term do not compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeaderId {
    term: Term,
    node: NodeId,
}

impl fmt::Display for LeaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.node)
    }
}

impl PartialOrd for LeaderId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.term.cmp(&other.term) {
            Ordering::Equal if self.node != other.node => None,
            order => Some(order),
        }
    }
}

impl PartialEq<Term> for LeaderId {
    fn eq(&self, _: &Term) -> bool {
        false
    }
}

impl PartialOrd<Term> for LeaderId {
    /// A term that has a leader comes after every mere candidate of it.
    fn partial_cmp(&self, committed: &Term) -> Option<Ordering> {
        Some(self.term.cmp(committed).then(Ordering::Less))
    }
}

impl RaftLeaderId for LeaderId {
    type Term = Term;
    type NodeId = NodeId;
    type Committed = Term;

    fn new(term: Term, node: NodeId) -> Self {
        LeaderId { term, node }
    }

    fn term(&self) -> Term {
        self.term
    }

    fn node_id(&self) -> &NodeId {
        &self.node
    }

    fn to_committed(&self) -> Term {
        self.term
    }
}

impl RaftTerm for Term {
    fn next(&self) -> Self {
        Term(self.0 + 1)
    }

    fn as_u64(&self) -> Option<u64> {
        Some(self.0)
    }
}

impl RaftPayload for Payload {
    type D = Arc<Proposal>;
    type NodeId = NodeId;
    type Node = ();

    fn blank() -> Self {
        Payload::Blank
    }

    fn with_normal(self, proposal: Arc<Proposal>) -> Self {
        Payload::Writes(proposal)
    }

    fn with_membership(self, membership: RaftMembership) -> Self {
        Payload::Membership(Box::new(membership_from(&membership)))
    }

    fn get_membership(&self) -> Option<RaftMembership> {
        match self {
            Payload::Membership(membership) => Some(membership_into(membership)),
            Payload::Blank | Payload::Writes(_) => None,
        }
    }
}

impl RaftEntry for Entry {
    type CommittedLeaderId = Term;
    type Payload = Payload;

    fn new(id: RaftLogId, payload: Payload) -> Self {
        Entry { id: log_id_from(id), payload }
    }

    fn log_id_parts(&self) -> (&Term, u64) {
        (&self.id.term, self.id.index.0)
    }

    fn set_log_id(&mut self, id: RaftLogId) {
        self.id = log_id_from(id);
    }

    fn get_membership(&self) -> Option<RaftMembership> {
        self.payload.get_membership()
    }
}

/// Carries the outcome of an entry back to those who wait for it.
pub(crate) struct Answer<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Answer<T> {
    pub(crate) fn new(answer: impl FnOnce(T) + Send + 'static) -> Self {
        Answer(Box::new(answer))
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Answer<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

pub(crate) fn log_id_from(id: RaftLogId) -> LogId {
    LogId { term: *id.committed_leader_id(), index: Index(id.index()) }
}

pub(crate) fn log_id_into(id: LogId) -> RaftLogId {
    RaftLogId::new(id.term, id.index.0)
}

pub(crate) fn vote_from(vote: &RaftVote) -> Vote {
    Vote { term: vote.leader_id.term, node: vote.leader_id.node, committed: vote.committed }
}

pub(crate) fn vote_into(vote: Vote) -> RaftVote {
    let leader_id = LeaderId { term: vote.term, node: vote.node };
    RaftVote { leader_id, committed: vote.committed }
}

pub(crate) fn membership_from(membership: &RaftMembership) -> Membership {
    Membership { voters: membership.get_joint_config().clone(), learners: membership.learner_ids().collect() }
}

pub(crate) fn membership_into(membership: &Membership) -> RaftMembership {
    RaftMembership::new_with_defaults(membership.voters.clone(), membership.learners.iter().copied())
}
