//! Who replicates a group, made to be whom the configuration wants: the work of the group's leader.
//!
//! Promises: one node at a time, each caught up before it votes, and none taken out while another is still to come in its
//! place; every step may be repeated, and whoever leads next goes on from what the group's own log says; no step is taken on
//! a wish that the configuration log has not confirmed just now.
//! Leaves out: deciding whom it should be, and starting and ending replicas (see `follow`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate::{AdminError, Consistency, Group, Membership, NodeId, StateMachine};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::{Answer, ConfigLog, Query, server_node};
use tokio::sync::watch;

use crate::kv::Reach;
use crate::served::Served;

/// How long one step may take before another one is tried. What it has begun goes on: a learner goes on learning.
const STEP: Duration = Duration::from_secs(5);

/// The pause after a step that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// The pause after one that did not: what is watched may be a change behind.
const LOOK: Duration = Duration::from_millis(10);

/// The longest time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// How long the configuration log may take to confirm a wish.
const ASK: Duration = Duration::from_secs(1);

/// Whom the configuration wants to replicate a group.
pub(super) struct Wishes {
    pub(super) configs: Arc<Served<ConfigLog>>,
    /// The shard group; `None` for the configuration log's own.
    pub(super) gid: Option<Gid>,
    /// What this node knows of it.
    pub(super) known: watch::Receiver<BTreeSet<NodeId>>,
}

impl Wishes {
    /// Asks the log itself: what this node knows may be old. `None` when it does not say.
    async fn confirmed(&self) -> Option<BTreeSet<NodeId>> {
        let book = self.ask(Query::Book).await?.book().filter(|book| book.is_begun())?;
        let Some(gid) = &self.gid else { return Some(book.controllers.clone()) };
        let config = self.ask(Query::Latest).await?.config()?;
        let servers = config.groups.get(gid).or_else(|| book.left.get(gid))?;
        Some(servers.iter().filter_map(|name| server_node(name)).collect())
    }

    async fn ask(&self, query: Query) -> Option<Answer> {
        Some(self.configs.read(Consistency::Linearizable, &query, ASK, 0).await.ok()?.answer)
    }
}

/// Something that brings a group nearer to what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A change that another leader began is ended, by asking for what it asked for.
    Settle(NodeId),
    Add(NodeId),
    Swap {
        old: NodeId,
        new: NodeId,
    },
    Remove(NodeId),
    /// Only the leader is left to be taken out: somebody else is to do it.
    HandOver(NodeId),
}

/// What the leader is to do next; `nth` counts the steps that failed one after the other, so that one dead node does not
/// hold up the rest.
fn next_step(membership: &Membership, wanted: &BTreeSet<NodeId>, leader: NodeId, nth: usize) -> Option<Step> {
    let pick = |nodes: &[NodeId]| nodes.get(nth.checked_rem(nodes.len())?).copied();
    if wanted.is_empty() {
        return None;
    }
    if membership.voters.len() > 1 {
        let last: Vec<NodeId> = membership.voters.last()?.iter().copied().collect();
        return if last.contains(&leader) { Some(Step::Settle(leader)) } else { pick(&last).map(Step::Settle) };
    }
    let learners: Vec<NodeId> = membership.learners.difference(wanted).copied().collect();
    if let Some(node) = pick(&learners) {
        return Some(Step::Remove(node));
    }
    let voters = membership.voter_ids();
    let missing: Vec<NodeId> = wanted.difference(&voters).copied().collect();
    let extra: Vec<NodeId> = voters.difference(wanted).copied().collect();
    let others: Vec<NodeId> = extra.iter().copied().filter(|node| *node != leader).collect();
    if let Some(new) = pick(&missing) {
        return Some(pick(&others).map_or(Step::Add(new), |old| Step::Swap { old, new }));
    }
    if let Some(node) = pick(&others) {
        return Some(Step::Remove(node));
    }
    if extra.is_empty() {
        return None;
    }
    let heirs: Vec<NodeId> = wanted.iter().copied().collect();
    // Each of them was asked, twice: it must go without.
    if nth >= heirs.len() * 2 { Some(Step::Remove(leader)) } else { pick(&heirs).map(Step::HandOver) }
}

/// Takes a step, counts it if it failed, and says how long to pause after it.
async fn take<M: StateMachine>(group: &Group<M>, step: Step, failed: &mut usize) -> Duration {
    let taken: Result<(), AdminError> = match step {
        Step::Settle(node) | Step::Add(node) => group.add_voter(node, STEP).await,
        Step::Swap { old, new } => group.replace(old, new, STEP).await,
        Step::Remove(node) => group.remove(node, STEP).await,
        Step::HandOver(to) => group.transfer_leadership(to, STEP).await,
    };
    match taken {
        Ok(()) => {
            tracing::info!(group = %group.id(), ?step, "a change of who replicates a group was made");
            *failed = 0;
            LOOK
        }
        Err(error) => {
            tracing::info!(group = %group.id(), ?step, %error, "a change of who replicates a group is not made yet");
            *failed += 1;
            PAUSE
        }
    }
}

/// Keeps the group to what is wished whenever this node leads it, until its replica stops.
pub(super) async fn keep<M: StateMachine>(group: Group<M>, mut wishes: Wishes) {
    let mut leadership = group.watch();
    let mut failed = 0;
    loop {
        let now = leadership.borrow_and_update().clone();
        if now.stopped.is_some() {
            return;
        }
        let known = wishes.known.borrow_and_update().clone();
        let step_to = |wanted: &BTreeSet<NodeId>| next_step(&now.membership, wanted, group.node(), failed);
        let settled = now.leader != Some(group.node()) || step_to(&known).is_none();
        if settled {
            failed = 0;
            tokio::select! {
                changed = leadership.changed() => if changed.is_err() { return },
                changed = wishes.known.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_MAX) => {}
            }
            continue;
        }
        let step = wishes.confirmed().await.and_then(|wanted| step_to(&wanted));
        let pause = match step {
            Some(step) => take(&group, step, &mut failed).await,
            None => PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(nodes: &[u64]) -> BTreeSet<NodeId> {
        nodes.iter().copied().map(NodeId).collect()
    }

    fn step(voters: &[&[u64]], learners: &[u64], wanted: &[u64], leader: u64, nth: usize) -> Option<Step> {
        let membership = Membership { voters: voters.iter().map(|set| ids(set)).collect(), learners: ids(learners) };
        next_step(&membership, &ids(wanted), NodeId(leader), nth)
    }

    /// What it shows; voters, learners, wanted, the leader, how often it failed, the step.
    type Case<'a> = (&'a str, &'a [&'a [u64]], &'a [u64], &'a [u64], u64, usize, Option<Step>);

    #[test]
    fn a_group_is_brought_to_what_is_wanted_one_step_at_a_time() {
        let (add, remove) = (|node| Some(Step::Add(NodeId(node))), |node| Some(Step::Remove(NodeId(node))));
        let swap = |old, new| Some(Step::Swap { old: NodeId(old), new: NodeId(new) });
        let hand_over = |to| Some(Step::HandOver(NodeId(to)));
        let settle = |node| Some(Step::Settle(NodeId(node)));
        let table: &[Case<'_>] = &[
            ("nothing to do", &[&[1, 2, 3]], &[], &[1, 2, 3], 1, 0, None),
            ("a dead one is replaced", &[&[1, 2, 3]], &[], &[1, 2, 4], 1, 0, swap(3, 4)),
            ("also when the new one learns already", &[&[1, 2, 3]], &[4], &[1, 2, 4], 1, 0, swap(3, 4)),
            ("the next one is tried after a failure", &[&[1, 2, 3]], &[], &[4, 5, 1], 1, 1, swap(3, 5)),
            ("a leader is not replaced but succeeded", &[&[1, 2, 3]], &[], &[4, 2, 3], 1, 0, add(4)),
            ("once all are there it hands over", &[&[1, 2, 3, 4]], &[], &[4, 2, 3], 1, 0, hand_over(2)),
            ("to another one if it must", &[&[1, 2, 3, 4]], &[], &[4, 2, 3], 1, 2, hand_over(4)),
            ("or goes without", &[&[1, 2, 3, 4]], &[], &[4, 2, 3], 1, 6, remove(1)),
            ("its successor takes it out", &[&[1, 2, 3, 4]], &[], &[4, 2, 3], 2, 0, remove(1)),
            ("a group grows", &[&[1]], &[], &[1, 2, 3], 1, 0, add(2)),
            ("a group shrinks", &[&[1, 2, 3]], &[], &[1], 1, 0, remove(2)),
            ("a learner that nobody wants leaves", &[&[1, 2, 3]], &[5], &[1, 2, 3], 1, 0, remove(5)),
            ("whatever else is to be done", &[&[1]], &[2, 3], &[1, 3, 4], 1, 0, remove(2)),
            ("what was begun is ended first", &[&[1, 2, 3], &[1, 2, 4]], &[], &[1, 2, 5], 1, 0, settle(1)),
            ("also by one who leaves by it", &[&[1, 2, 3], &[2, 3, 4]], &[], &[2, 3, 4], 1, 1, settle(3)),
            ("nobody is no wish", &[&[1, 2, 3]], &[], &[], 1, 0, None),
        ];
        for (claim, voters, learners, wanted, leader, nth, expected) in table {
            assert_eq!(step(voters, learners, wanted, *leader, *nth), *expected, "{claim}");
        }
    }
}
