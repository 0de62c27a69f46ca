//! Two masters, without a third to vote: one of them may go on alone, and its own log says which.
//!
//! The rule: a master goes on alone only if the newest epoch in its own log is the other's. Both could only if each one's
//! newest epoch was the other's; the higher of the two is in its primary's own log too, which contradicts it. So a primary
//! that comes back never takes over: the other may have gone on without it. It waits until that one takes it in again.
//! `docs/masters.md` says more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::env::until;
use quorate::{Evidence, Leadership, NodeId};
use quorate_statemachines::master::MasterMachine;
use tokio::sync::oneshot;

use super::masters::{Masters, Node};
use super::standing::Standing;
use crate::embedded::Power;
use crate::stdio::ErrorReply;

/// The shortest and the longest time between two looks at the other one.
const LOOK: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// Each refusal doubles the time until the next attempt, up to so many.
const REFUSALS_MAX: u32 = 4;

/// How long one attempt to take the other in again may take.
const TAKE_IN: Duration = Duration::from_secs(1);

impl Masters {
    /// The other one, if there are two.
    pub(super) fn other(&self, nth: usize) -> Option<usize> {
        (self.names.len() == 2 && nth < 2).then(|| 1 - nth)
    }

    /// Has a master go on without the other, if the rule allows it, and waits until it serves; otherwise says why not.
    pub(super) async fn take_over(self: &Arc<Self>, nth: usize) -> Option<ErrorReply> {
        let (sender, receiver) = oneshot::channel();
        let masters = Arc::clone(self);
        // Whoever asked may go away; what was begun is brought to its end.
        self.env.spawn(Box::pin(async move { _ = sender.send(masters.try_alone(nth).await) }));
        let ended = || ErrorReply::unavailable("the process is about to end").reason("shutting_down");
        receiver.await.unwrap_or_else(|_| Some(ended()))
    }

    async fn try_alone(&self, nth: usize) -> Option<ErrorReply> {
        let _one_at_a_time = self.takeover.lock().await;
        let serves = matches!(self.standings.borrow().get(nth), Some(Standing::Primary(_)));
        if serves {
            return None;
        }
        if self.group.power(nth) != Some(Power::Running) {
            return Some(ErrorReply::unavailable("no shadow lives").reason("no_shadow"));
        }
        let other = self.other(nth).map(|other| self.name(other));
        let rule = |evidence: &Evidence<'_, MasterMachine>| {
            let newest = evidence.machine.office().primary.as_ref();
            newest.is_some() && newest == other.as_ref()
        };
        match self.group.take_over(nth, rule).await {
            Ok(Ok(())) => {
                self.settled(nth).await;
                None
            }
            Ok(Err(refusal)) => {
                tracing::info!(master = %self.name(nth), %refusal, "it may not go on alone");
                self.refusals.get(nth).into_iter().for_each(|refusals| _ = refusals.fetch_add(1, Ordering::Relaxed));
                let text = format!("{} may not go on alone: {refusal}", self.name(nth));
                Some(ErrorReply::unavailable(text).reason("must_wait"))
            }
            Err(fatal) => {
                tracing::error!(master = %self.name(nth), %fatal, "it could not go on alone");
                Some(ErrorReply::unavailable(fatal.to_string()).reason("no_shadow"))
            }
        }
    }

    /// Waits until a master that is alone now serves.
    async fn settled(&self, nth: usize) {
        let mut standings = self.standings.subscribe();
        let settled =
            |standings: &Vec<Standing>| matches!(standings.get(nth), Some(Standing::Primary(_) | Standing::Down));
        let _ = until(&self.env, self.env.now() + self.patience, standings.wait_for(settled)).await;
    }

    /// Waits until the other was silent for the failure timeout, and tries to go on without it. Returns when there is
    /// another handle to follow.
    pub(super) async fn outwait_the_other(self: &Arc<Self>, nth: usize, node: &Node) {
        let Some(other) = self.other(nth).and_then(|other| self.group.node(other)) else {
            return std::future::pending().await;
        };
        self.outwait(nth, node, other).await;
        tracing::info!(master = %self.name(nth), "the other one is silent");
        let _ = self.take_over(nth).await;
    }

    async fn outwait(&self, nth: usize, node: &Node, other: NodeId) {
        // Whoever was refused disturbs the other's return by asking again and again.
        let refusals = self.refusals.get(nth).map_or(0, |refusals| refusals.load(Ordering::Relaxed));
        let timeout = self.options.failure_timeout * (1 << refusals.min(REFUSALS_MAX));
        let look = (timeout / 20).clamp(LOOK.0, LOOK.1);
        let mut looked = self.env.now();
        // Since when it would have heard.
        let mut awake = looked;
        loop {
            let now = self.env.now();
            let deaf = self.group.power(nth) != Some(Power::Running) || now.since(looked) > (look * 4).max(timeout / 2);
            looked = now;
            if deaf {
                awake = now;
            }
            let heard = node.leader_heard().filter(|(leader, _)| *leader == other).map(|(_, heard)| heard);
            if heard.is_some() {
                self.refusals.get(nth).into_iter().for_each(|refusals| refusals.store(0, Ordering::Relaxed));
            }
            if now.since(heard.map_or(awake, |heard| heard.max(awake))) >= timeout {
                return;
            }
            self.env.sleep(look).await;
        }
    }

    /// Gives the other its vote back once it is there, for as long as this master is the primary.
    pub(super) async fn take_in_the_other(&self, nth: usize, node: &Node) {
        let Some((nth, other)) = self.other(nth).and_then(|nth| Some((nth, self.group.node(nth)?))) else { return };
        let mut leadership = node.watch();
        loop {
            // A change that was cut off half-way leaves two sets of voters: it is to be brought to its end.
            let broken = |now: &Leadership| now.membership.voters.len() != 1 || !now.membership.is_voter(other);
            if leadership.wait_for(broken).await.is_err() {
                return;
            }
            if self.group.lives(nth, TAKE_IN).await {
                // Refused, late or done: it is looked at again.
                if let Err(error) = node.add_voter(other, TAKE_IN).await {
                    tracing::debug!(%error, "the other one is not back yet");
                }
            }
            self.env.sleep(LOOK.0 * 4).await;
        }
    }
}
