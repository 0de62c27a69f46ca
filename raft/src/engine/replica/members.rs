//! Who belongs to a group, and who is to lead it.
//!
//! Promises: a change of members is carried out on whatever the membership is when the core comes to it, or not at all.

use std::collections::BTreeSet;

use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, InitializeError, RaftError};

use super::{NotHere, Replica, forwarded};
use crate::engine::types::{TypeConfig, membership_from};
use crate::error::{Fatal, Rejected, Unknown, WriteError};
use crate::types::{Membership, NodeId};

impl Replica {
    /// Makes this replica and `voters` a new group. Once, on one node, on an empty log.
    pub(crate) async fn initialize(&self, voters: BTreeSet<NodeId>) -> Result<(), Rejected> {
        match self.raft.initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(error))) => Err(Rejected::Invalid(error.to_string())),
            Err(RaftError::APIError(InitializeError::NotInMembers(error))) => Err(Rejected::Invalid(error.to_string())),
            Err(RaftError::Fatal(_)) => Err(Rejected::Stopped),
        }
    }

    /// Adds a learner; returns when the membership is committed, not when the learner has caught up.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<Result<(), WriteError>, NotHere> {
        self.check_belongs().await?;
        changed(self.raft.add_learner(node, (), false).await.map(drop), self)
    }

    /// The membership in force, read from the core itself: what is watched may be a change behind.
    pub(crate) async fn membership(&self) -> Result<Membership, Fatal> {
        let read = self.raft.with_raft_state(|state| membership_from(state.membership_state.effective().membership()));
        read.await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Makes `add` voters and takes `remove` out of the group, from whatever the membership is when the core comes to
    /// it. Joint consensus, both steps; ends a joint membership that an earlier change left.
    pub(crate) async fn change_voters(
        &self,
        add: Option<NodeId>,
        remove: Option<NodeId>,
    ) -> Result<Result<(), WriteError>, NotHere> {
        let add = ChangeMembers::AddVoterIds(add.into_iter().collect());
        let remove = ChangeMembers::RemoveVoters(remove.into_iter().collect());
        self.check_belongs().await?;
        changed(self.raft.change_membership(ChangeMembers::Batch(vec![add, remove]), false).await.map(drop), self)
    }

    /// A leader that was taken out of its group leads on until another one is elected, but proposes no change of members any
    /// more: the core takes it for no leader, and where it checks itself, it stops.
    async fn check_belongs(&self) -> Result<(), NotHere> {
        match self.membership().await {
            Ok(membership) if membership.contains(self.node) => Ok(()),
            Ok(_) => Err(NotHere::Leader(None)),
            Err(fatal) => Err(NotHere::Stopped(fatal)),
        }
    }

    /// Removes a learner.
    pub(crate) async fn remove_learner(&self, node: NodeId) -> Result<Result<(), WriteError>, NotHere> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([node]));
        self.check_belongs().await?;
        changed(self.raft.change_membership(change, false).await.map(drop), self)
    }

    /// Starts to hand leadership over; whether it arrives is for the caller to watch.
    pub(crate) async fn start_transfer(&self, to: NodeId) -> Result<(), Fatal> {
        self.raft.trigger().transfer_leader(to).await.map_err(|fatal| self.fatal(&fatal))
    }

    /// Stands for election at once, without asking first: ends a handing-over that went nowhere.
    pub(crate) async fn stand(&self) -> Result<(), Fatal> {
        self.raft.trigger().elect(false).await.map_err(|fatal| self.fatal(&fatal))
    }
}

fn changed(
    result: Result<(), RaftError<TypeConfig, ClientWriteError<TypeConfig>>>,
    replica: &Replica,
) -> Result<Result<(), WriteError>, NotHere> {
    match result {
        Ok(()) => Ok(Ok(())),
        Err(RaftError::Fatal(fatal)) => Ok(Err(replica.fatal(&fatal).into())),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => Err(forwarded(&forward)),
        Err(RaftError::APIError(ClientWriteError::LogEntryDiscarded(_))) => Ok(Err(Unknown::LeaderLost.into())),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => Ok(Err(match error {
            ChangeMembershipError::InProgress(_) => Rejected::LeaderNotReady(error.to_string()),
            _ => Rejected::Invalid(error.to_string()),
        }
        .into())),
        // Another change came between the two steps of this one: to be carried out on what that one leaves.
        Err(RaftError::APIError(ClientWriteError::PreconditionFailed(error))) => {
            Ok(Err(Rejected::LeaderNotReady(error.to_string()).into()))
        }
    }
}
