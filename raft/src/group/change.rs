//! Changes of membership and leadership: carried out on the leader, asked of any node.
//!
//! Traps that shape this (seen with the consensus core that is pinned): a transfer to a node that is dead, behind or no voter
//! leaves the group without writes for an election timeout, or for good when nobody else can be elected; so the target
//! is checked first, the arrival is watched, and a transfer that went nowhere is ended by a new election.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::core::GroupCore;
use super::route::{Route, Target};
use crate::engine::NotHere;
use crate::env::Moment;
use crate::error::{AdminError, Rejected, Unknown, WriteError};
use crate::planted::{self, Bug};
use crate::transport::{Change, ForwardedAdmin, Reply, Request, TransportError};
use crate::types::{Index, NodeId};

/// How far a learner or a transfer's target may be behind, in entries, to count as caught up.
const CAUGHT_UP_LAG: u64 = 64;

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl GroupCore {
    /// Carries out a change, wherever the leader is.
    pub(crate) async fn change(self: &Arc<Self>, change: Change, timeout: Duration) -> Result<(), AdminError> {
        self.change_routed(change, timeout, self.options.hops_max).await
    }

    /// Carries out a change that another node handed on.
    pub(crate) async fn change_forwarded(self: &Arc<Self>, admin: ForwardedAdmin) -> Result<(), AdminError> {
        self.change_routed(admin.change, admin.timeout, admin.hops_left).await
    }

    async fn change_routed(self: &Arc<Self>, change: Change, timeout: Duration, hops: u8) -> Result<(), AdminError> {
        let mut route = Route::new(self, timeout);
        loop {
            let target = route.next().await?;
            let attempt = match target {
                Target::Here => match self.until(route.deadline, pin!(self.change_here(&change, route.deadline))).await
                {
                    Some(result) => result,
                    None => Err(Unknown::Deadline(timeout).into()),
                },
                Target::There(leader) if hops > 0 => self.change_there(leader, &change, route.left(), hops - 1).await,
                Target::There(leader) => Err(Rejected::NotLeader { leader: Some(leader) }.into()),
            };
            match attempt {
                // Every change may be repeated: carried out twice it is carried out once.
                Err(AdminError::Rejected(cause @ (Rejected::NotLeader { .. } | Rejected::LeaderNotReady(_))))
                    if hops > 0 =>
                {
                    route.refused(target, cause).await;
                }
                result => return result,
            }
        }
    }

    async fn change_there(
        &self,
        leader: NodeId,
        change: &Change,
        timeout: Duration,
        hops_left: u8,
    ) -> Result<(), AdminError> {
        let request = Request::Admin(ForwardedAdmin { change: change.clone(), hops_left, timeout });
        match self.caller.call(leader, self.id, request, timeout).await {
            Ok(Reply::Admin(result)) => result,
            Ok(Reply::Refused(cause)) => Err(cause.into()),
            Ok(_) => Err(Unknown::AnswerLost(format!("{leader} answered another question")).into()),
            Err(TransportError::Unreachable(_)) => Err(Rejected::NotLeader { leader: None }.into()),
            Err(error @ TransportError::TooLarge { .. }) => Err(Rejected::Invalid(error.to_string()).into()),
            Err(error @ TransportError::NoAnswer(_)) => Err(Unknown::AnswerLost(error.to_string()).into()),
        }
    }

    async fn change_here(&self, change: &Change, deadline: Moment) -> Result<(), AdminError> {
        self.woken(deadline).await;
        match *change {
            Change::AddLearner(node) => self.learn(node).await,
            Change::AddVoter(node) => {
                self.catch_up(node).await?;
                self.revote(Some(node), None).await
            }
            Change::Remove(node) => self.remove(node).await,
            Change::Replace(old, new) => {
                self.catch_up(new).await?;
                let old = (old != new).then_some(old);
                self.revote(Some(new), old).await?;
                match old {
                    Some(old) => self.remove(old).await,
                    None => Ok(()),
                }
            }
            Change::Transfer(to) => self.transfer(to, deadline).await,
            Change::CompareStates => self.compare_states(deadline).await,
            Change::RaiseVersion(to) => self.raise_version(to, deadline).await,
        }
    }

    async fn learn(&self, node: NodeId) -> Result<(), AdminError> {
        if self.replica.membership().await?.contains(node) {
            return Ok(());
        }
        self.check_program(node).await?;
        settled(self.replica.add_learner(node).await)
    }

    /// Makes `node` a learner if need be, and waits until it has nearly all that the leader has, and is alive: with a dead
    /// node's vote to ask for, a small group could not even take it back.
    async fn catch_up(&self, node: NodeId) -> Result<(), AdminError> {
        self.learn(node).await?;
        if node == self.node || planted::is(Bug::VoterNotCaughtUp) {
            return Ok(());
        }
        while self.obstacle(node)?.is_some() {
            self.env.sleep(LOOK).await;
        }
        Ok(())
    }

    /// Makes `add` a voter and `remove` none; nothing is to be done if that is so, and settled, already.
    async fn revote(&self, add: Option<NodeId>, remove: Option<NodeId>) -> Result<(), AdminError> {
        let remove = remove.filter(|_| !planted::is(Bug::RemovedKeepsVote));
        let membership = self.replica.membership().await?;
        let mut voters = membership.voters.last().cloned().unwrap_or_default();
        let changes = add.is_some_and(|node| voters.insert(node)) | remove.is_some_and(|node| voters.remove(&node));
        if voters.is_empty() {
            return Err(Rejected::Invalid("a group needs a voter".into()).into());
        }
        // A leader that fell half-way through a change leaves two sets of voters.
        let settled_already = membership.voters.len() < 2;
        if !changes && settled_already {
            return Ok(());
        }
        settled(self.replica.change_voters(add, remove).await)
    }

    async fn remove(&self, node: NodeId) -> Result<(), AdminError> {
        self.revote(None, Some(node)).await?;
        if self.replica.membership().await?.learners.contains(&node) {
            return settled(self.replica.remove_learner(node).await);
        }
        Ok(())
    }

    async fn transfer(&self, to: NodeId, deadline: Moment) -> Result<(), AdminError> {
        if to == self.node {
            return Ok(());
        }
        self.await_target(to, deadline).await?;
        let mut leadership = self.replica.leadership();
        let term = leadership.borrow().term;
        self.replica.start_transfer(to).await?;
        let patience = self.env.now() + self.options.election_timeout.1 * 4;
        let arrived = leadership.wait_for(|now| now.stopped.is_some() || (now.term > term && now.leader.is_some()));
        match self.until(deadline.min(patience), pin!(arrived)).await {
            Some(Ok(now)) if now.leader == Some(to) => self.confirm_leader(to, deadline).await,
            Some(Ok(now)) => {
                let text = format!("leadership went to {:?} instead of {to}", now.leader);
                Err(Rejected::Consistency(text).into())
            }
            Some(Err(_)) => Err(Rejected::Stopped.into()),
            None => {
                // The core refuses writes until the transfer ends, and it may never: a new election ends it.
                self.replica.stand().await?;
                Err(Unknown::AnswerLost(format!("{to} did not take over")).into())
            }
        }
    }

    /// Waits until `to` can take over at once, for as long as a living node needs to be heard from.
    async fn await_target(&self, to: NodeId, deadline: Moment) -> Result<(), Rejected> {
        if !self.replica.leadership().borrow().membership.is_voter(to) {
            return Err(Rejected::Invalid(format!("{to} cannot take over: it is not a voter")));
        }
        let patience = deadline.min(self.env.now() + self.options.election_timeout.1);
        while let Some(obstacle) = self.obstacle(to)? {
            if self.env.now() >= patience {
                return Err(Rejected::Invalid(format!("{to} cannot take over: {obstacle}")));
            }
            self.env.sleep(LOOK).await;
        }
        Ok(())
    }

    /// What keeps `to` from taking over, or from voting usefully, now.
    fn obstacle(&self, to: NodeId) -> Result<Option<&'static str>, Rejected> {
        let silent = self.replica.acknowledged_ago(to).is_none_or(|ago| ago > self.options.election_timeout.1);
        if silent {
            return Ok(Some("it has not been heard from"));
        }
        Ok((self.lag(to)? > CAUGHT_UP_LAG).then_some("it is too far behind"))
    }

    /// Asks `to` itself until it says that it leads.
    async fn confirm_leader(&self, to: NodeId, deadline: Moment) -> Result<(), AdminError> {
        loop {
            let left = self.left(deadline);
            if left.is_zero() {
                return Err(Unknown::AnswerLost(format!("{to} was elected but did not confirm it")).into());
            }
            let wait = left.min(self.options.election_timeout.1);
            match self.caller.call(to, self.id, Request::WhoLeads, wait).await {
                Ok(Reply::Leader { leader: Some(leader), .. }) if leader == to => return Ok(()),
                _ => self.env.sleep(LOOK).await,
            }
        }
    }

    /// How many entries `node` is behind this leader.
    fn lag(&self, node: NodeId) -> Result<u64, Rejected> {
        let status = self.replica.status();
        if status.leadership.leader != Some(self.node) {
            return Err(Rejected::NotLeader { leader: status.leadership.leader });
        }
        let has = |index: Option<Index>| index.map_or(0, |index| index.0 + 1);
        let matched = status.replication.iter().find(|(peer, _)| *peer == node).and_then(|(_, id)| *id);
        Ok(has(status.last).saturating_sub(has(matched.map(|id| id.index))))
    }
}

fn settled(result: Result<Result<(), WriteError>, NotHere>) -> Result<(), AdminError> {
    match result {
        Ok(result) => result.map_err(AdminError::from),
        Err(not_here) => Err(not_here.rejected().into()),
    }
}
