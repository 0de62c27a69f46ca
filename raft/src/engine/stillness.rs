//! A replica's clock, and whether its group stands still.

use std::time::Duration;

use super::replica::Replica;
use super::types::{log_id_from, membership_from, vote_from};
use crate::quiet::Settled;
use crate::types::{LogId, NodeId, Vote};

impl Replica {
    /// Has the core keep time, or not: one that does not neither stands for election nor sends heartbeats.
    pub(crate) fn tick(&self, on: bool) {
        self.raft.runtime_config().tick(on);
    }

    /// The vote that is saved here, and the last entry that is applied.
    pub(crate) fn vote(&self) -> (Vote, Option<LogId>) {
        (vote_from(&self.raft.metrics().borrow().vote), self.shared.read().last)
    }

    /// Whether this replica voted so, and holds, and has applied, a log that ends so.
    pub(crate) fn is_settled_at(&self, vote: Vote, last: LogId) -> bool {
        let (held, end) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (vote_from(&metrics.vote), metrics.last_log_index)
        };
        held == vote && end == Some(last.index.0) && self.shared.read().last == Some(last)
    }

    /// Whether nothing is under way in the group that this replica leads: all that there is is committed, and applied here;
    /// every other replica is known to hold it, and was heard of within `fresh`.
    pub(crate) fn settled(&self, fresh: Duration) -> Option<Settled> {
        let last = self.shared.read().last?;
        let metrics = self.raft.metrics().borrow().clone();
        let vote = vote_from(&metrics.vote);
        let leads = vote.committed && vote.node == self.node;
        let committed = metrics.local_committed.map(log_id_from) == Some(last);
        let membership = membership_from(metrics.membership_config.membership());
        let [voters] = &membership.voters[..] else { return None };
        if !leads || !committed || metrics.last_log_index != Some(last.index.0) || !voters.contains(&self.node) {
            return None;
        }
        let others: Vec<NodeId> =
            voters.union(&membership.learners).copied().filter(|node| *node != self.node).collect();
        let replication = metrics.replication.unwrap_or_default();
        let holds = |node: &NodeId| replication.get(node).copied().flatten().map(log_id_from) == Some(last);
        let heard = |node: &NodeId| self.acknowledged_ago(*node).is_some_and(|ago| ago <= fresh);
        others.iter().all(|node| holds(node) && heard(node)).then_some(Settled { vote, last, others })
    }
}
