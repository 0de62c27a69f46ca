//! Sees every step that a replica takes, of its log, its vote, its machine and its leadership, and hands it to the invariants.
//!
//! Promises: a step is judged before anything comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::log::{Entry, LogState};
use quorate::types::Vote;
use quorate::{EntryContext, GroupId, Leadership, LogId, Membership, NodeId, Role, Term};
use tokio::sync::Notify;

use super::counts::Tally;
use super::invariants::{GroupView, Step};
use super::outcome::Violation;
use super::trace::Trace;

/// Sees all groups of a run. Clones are the same.
#[derive(Clone)]
pub struct Observer(Arc<Shared>);

struct Shared {
    trace: Trace,
    tally: Tally,
    state: Mutex<State>,
    violated: Notify,
}

#[derive(Default)]
struct State {
    groups: BTreeMap<GroupId, GroupView>,
    violations: Vec<Violation>,
    /// Replicas that have stopped by themselves, and why.
    stopped: BTreeMap<(NodeId, GroupId), String>,
    /// Nodes whose disk was made to fail in this life.
    excused: BTreeSet<NodeId>,
    /// The membership that each group's newest leader acts on.
    memberships: BTreeMap<GroupId, (Term, Membership)>,
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}

impl Observer {
    pub(super) fn new(trace: Trace, tally: Tally) -> Self {
        Observer(Arc::new(Shared { trace, tally, state: Mutex::default(), violated: Notify::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn violate(&self, property: &str, reason: String) {
        let at = self.0.trace.now();
        self.0.trace.note(None, format_args!("!! {property}: {reason}"));
        self.state().violations.push(Violation { property: property.to_owned(), reason, at });
        self.0.violated.notify_one();
    }

    pub(super) fn is_violated(&self) -> bool {
        !self.state().violations.is_empty()
    }

    /// Returns once something was violated.
    pub(super) async fn violated(&self) {
        while !self.is_violated() {
            self.0.violated.notified().await;
        }
    }

    pub(super) fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.state().violations)
    }

    /// A replica takes a step.
    pub(super) fn step(&self, node: NodeId, group: GroupId, step: &Step<'_>) {
        let broken = {
            let mut state = self.state();
            let view = state.groups.entry(group).or_default();
            view.take(node, step)
        };
        match step {
            Step::Applied(..) | Step::Flushed(_) => {}
            step => self.0.trace.note(Some(node), format_args!("{group} {step}")),
        }
        for property in step.properties() {
            self.0.tally.checked(property);
        }
        for (property, reason) in broken {
            self.violate(property, format!("{group} on {node}: {reason}"));
        }
    }

    /// A replica says who leads.
    pub(super) fn leadership(&self, node: NodeId, group: GroupId, now: &Leadership) {
        let Leadership { term, leader, role, membership, stopped } = now;
        self.0.trace.note(Some(node), format_args!("{group} is {role:?} in {term}, led by {leader:?} {stopped:?}"));
        if let Some(leader) = leader {
            self.step(node, group, &Step::Leads(*term, *leader));
        }
        if *role == Role::Leader {
            self.step(node, group, &Step::Leads(*term, node));
            let mut state = self.state();
            let known = state.memberships.entry(group).or_default();
            if known.0 <= *term {
                *known = (*term, membership.clone());
            }
        }
        if let Some(cause) = stopped {
            let is_excused = {
                let mut state = self.state();
                state.stopped.insert((node, group), cause.to_string());
                state.excused.contains(&node)
            };
            if !is_excused {
                self.violate("a replica does not stop by itself", format!("{group} on {node} has: {cause}"));
            }
        }
    }

    /// Whether a replica of this node has stopped by itself in this life.
    pub(super) fn has_stopped_replica(&self, node: NodeId) -> bool {
        self.state().stopped.keys().any(|(stopped, _)| *stopped == node)
    }

    /// From now on replicas of this node may stop: its disk fails.
    pub fn excuse(&self, node: NodeId) {
        self.state().excused.insert(node);
    }

    pub(super) fn life_ends(&self, node: NodeId) {
        let mut state = self.state();
        state.excused.remove(&node);
        state.stopped.retain(|(stopped, _), _| *stopped != node);
        state.groups.values_mut().for_each(|view| view.life_ends(node));
    }

    pub(super) fn power_lost(&self, node: NodeId) {
        self.state().groups.values_mut().for_each(|view| view.power_lost(node));
    }

    /// The leader of the newest term of a group that anybody has heard of.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.state().groups.get(&group)?.newest_leader()
    }

    /// The leader of the first group that has one.
    pub fn any_leader(&self) -> Option<NodeId> {
        self.state().groups.values().find_map(GroupView::newest_leader)
    }

    /// The newest entry of a group that anybody has said to be committed.
    pub fn committed(&self, group: GroupId) -> Option<LogId> {
        self.state().groups.get(&group)?.committed()
    }

    /// The nodes that belong to a group by the newest leader's log.
    pub fn members(&self, group: GroupId) -> Vec<NodeId> {
        let state = self.state();
        let membership = state.memberships.get(&group).map(|(_, membership)| membership);
        membership.map(|members| members.voter_ids().union(&members.learners).copied().collect()).unwrap_or_default()
    }

    /// A replica begins a life on what its log holds.
    pub(super) fn begins(&self, node: NodeId, group: GroupId, log: LogState, entries: &[Entry], vote: Option<Vote>) {
        self.step(node, group, &Step::Begins(log, entries, vote));
    }

    pub(super) fn applied(&self, node: NodeId, group: GroupId, at: EntryContext, digest: u64) {
        self.step(node, group, &Step::Applied(at, digest));
    }
}
