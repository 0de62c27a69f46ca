//! Reads that do not enter the log, and what each of them proves (thesis §6.4).
//!
//! Promises: every reply says who answered, from which index, and how old the state can be at most.
//! Leaves out: which replica to ask, which is the caller's choice.

mod freshness;
mod ready;
mod serve;
mod state;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{Index, NodeId};

pub(crate) use freshness::Freshness;

/// How fresh a read must be, and who may answer it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// The leader answers, at a read index confirmed by a quorum after the read began.
    Linearizable,
    /// This replica answers, at a read index that it asked of the leader after the read began.
    LinearizableHere,
    /// The leader answers at once while its lease runs: linearizable if no clock drifts by more than the configured
    /// margin within one lease. Suspended time counts.
    Lease,
    /// This replica answers if it can prove that its state is at most so old; otherwise the leader does, linearizably.
    Bounded(Duration),
    /// This replica answers from what it has applied; nothing is promised but that it is some past state.
    Local,
}

/// What a read's reply proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The replica that answered.
    pub served_by: NodeId,
    /// What it had applied.
    pub applied: Option<Index>,
    /// Whether the answer reflects every write acknowledged before the read began.
    pub linearizable: bool,
    /// An upper bound of the state's age when the reply was made; zero for a linearizable one, `None` for `Local`.
    pub staleness: Option<Duration>,
    /// Whether this replica could not meet the bound and the leader answered in its place.
    pub redirected: bool,
}

/// A read's answer and its proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadReply<A> {
    /// What the machine answered.
    pub answer: A,
    /// What can be said about it.
    pub proof: Proof,
}
