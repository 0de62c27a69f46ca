//! Replicas compare their states: see [`crate::Group::compare_states`].

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, join_all, select};

use super::core::GroupCore;
use crate::env::Moment;
use crate::error::{AdminError, Fatal, Rejected};
use crate::log::{Action, Verdict};
use crate::transport::{Reply, Request};
use crate::types::{Index, Membership, NodeId};

/// What replicas said of one entry.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// The digest of a majority, and who holds another.
    Majority(u64, Vec<NodeId>),
    /// All voters said something, and no majority the same.
    Parted,
    /// Too few said anything.
    Unknown,
}

impl GroupCore {
    /// As the leader.
    pub(super) async fn compare_states(&self, deadline: Moment) -> Result<(), AdminError> {
        if !self.replica.has_digest() {
            return Err(Rejected::Invalid("the machine has no digest of its state".into()).into());
        }
        let at = self.propose_action(Action::Digest, deadline).await?.index;
        let membership = self.replica.membership().await?;
        let members: Vec<_> = membership.voter_ids().union(&membership.learners).copied().collect();
        let said = join_all(members.into_iter().map(|member| self.digest_of(member, at, deadline))).await;
        let said: BTreeMap<_, _> = said.into_iter().flatten().collect();
        let (expected, odd) = match judge(&membership, &said) {
            Finding::Majority(digest, odd) => (Some(digest), odd),
            Finding::Parted => (None, said.keys().copied().collect()),
            Finding::Unknown => {
                let text = format!("too few replicas gave a digest of entry {at} to compare them");
                return Err(Rejected::Consistency(text).into());
            }
        };
        let told = self.propose_action(Action::Verdict(Verdict { at, expected }), deadline).await;
        if odd.is_empty() {
            return told.map(drop).map_err(AdminError::from);
        }
        tracing::error!(group = %self.id, %at, ?odd, "replicas of one group hold different states");
        Err(Fatal(format!("{odd:?} parted from the others by entry {at}")).into())
    }

    async fn digest_of(&self, member: NodeId, at: Index, deadline: Moment) -> Option<(NodeId, u64)> {
        // What is left is for the verdict.
        let patience = self.left(deadline) / 2;
        let digest = if member == self.node {
            self.digest_within(at, patience).await
        } else {
            match self.caller.call(member, self.id, Request::Digest { at, timeout: patience }, patience).await {
                Ok(Reply::Digest(digest)) => digest,
                _ => None,
            }
        };
        digest.map(|digest| (member, digest))
    }

    /// This replica's digest at an entry, once it has applied it and computed the digest. Not if it stops before.
    pub(super) async fn digest_within(&self, at: Index, patience: Duration) -> Option<u64> {
        let deadline = self.env.now() + patience;
        let mut leadership = self.replica.leadership();
        let stopped = pin!(leadership.wait_for(|now| now.stopped.is_some()));
        match self.until(deadline, select(pin!(self.replica.digest_at(at)), stopped)).await? {
            Either::Left((digest, _)) => digest,
            Either::Right(_) => None,
        }
    }
}

fn judge(membership: &Membership, said: &BTreeMap<NodeId, u64>) -> Finding {
    let voters = membership.voter_ids();
    let mut counts = BTreeMap::<u64, usize>::new();
    for digest in voters.iter().filter_map(|voter| said.get(voter)) {
        *counts.entry(*digest).or_default() += 1;
    }
    match counts.into_iter().find(|(_, count)| count * 2 > voters.len()) {
        Some((digest, _)) => {
            let odd = said.iter().filter(|(_, other)| **other != digest).map(|(node, _)| *node);
            Finding::Majority(digest, odd.collect())
        }
        None if voters.iter().all(|voter| said.contains_key(voter)) => Finding::Parted,
        None => Finding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_the_voters_is_right_and_without_one_nobody_is() {
        let finding = |voters: &[u64], said: &[(u64, u64)]| {
            let voters = [voters.iter().copied().map(NodeId).collect()].into();
            let membership = Membership { voters, learners: [NodeId(9)].into() };
            judge(&membership, &said.iter().map(|(node, digest)| (NodeId(*node), *digest)).collect())
        };
        let odd = |nodes: &[u64]| Finding::Majority(5, nodes.iter().copied().map(NodeId).collect());
        assert_eq!(finding(&[1, 2, 3], &[(1, 5), (2, 5), (3, 5)]), odd(&[]));
        assert_eq!(finding(&[1, 2, 3], &[(1, 5), (2, 6), (3, 5), (9, 7)]), odd(&[2, 9]));
        assert_eq!(finding(&[1, 2, 3], &[(1, 5), (3, 5)]), odd(&[]), "the third will judge itself");
        assert_eq!(finding(&[1, 2, 3], &[(1, 5), (3, 6), (9, 5)]), Finding::Unknown, "a learner has no vote");
        assert_eq!(finding(&[1, 2, 3], &[(1, 5), (2, 7), (3, 6)]), Finding::Parted);
        assert_eq!(finding(&[1, 2], &[(1, 5), (2, 6)]), Finding::Parted);
    }
}
