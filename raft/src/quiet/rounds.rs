//! What a replica says and does about sleep when it is asked.

use std::pin::pin;
use std::sync::Arc;

use futures::future::{join_all, select};

use super::rest::{State, Watched};
use crate::group::GroupCore;
use crate::transport::{Appended, Ballot, Quiesce, Reply, Request};
use crate::types::{NodeId, Vote};

impl GroupCore {
    /// Notes that somebody asks this replica for something, and begins to wake it if it sleeps. Whether it is awake.
    pub(crate) fn stir(&self) -> bool {
        self.rest.touch() || {
            self.rest.rouse();
            false
        }
    }

    /// Waits until this replica, if it leads and slept, has been confirmed by a quorum, or has tried to be. Followers need
    /// not wait: what they are asked they ask the leader.
    pub(crate) async fn awake(&self) {
        if !self.stir() && self.replica.leads() {
            // Never closed: the sender is here.
            let _ = self.rest.subscribe().wait_for(|state| *state == State::Awake).await;
        }
    }

    /// Acts on a message of a candidate or a leader.
    pub(crate) async fn hear(&self, request: Request) -> Reply {
        let news = match &request {
            Request::Append(append) => !append.entries.is_empty(),
            Request::PreVote(ballot) => {
                if let Some(refused) = self.refuse_candidate(ballot) {
                    return refused;
                }
                true
            }
            _ => true,
        };
        let append = matches!(request, Request::Append(_));
        if !append {
            self.stir();
        }
        let reply = self.replica.consensus(request).await;
        // Only now: from the moment at which it accepted the message it waits for the next one.
        let accepted = matches!(&reply, Reply::Append(appended) if !matches!(appended, Appended::HigherVote(_)));
        if accepted && !self.rest.is_awake() {
            let woken = self.rest.heard(news, self.env.now(), self.options.election_timeout.0);
            self.metrics.woken.increment(u64::from(woken));
        }
        reply
    }

    /// A quiet replica has no word of its leader to hold against a candidate. As long as its host sees the leader's node, it
    /// refuses in the leader's place, and wakes: the leader can speak for itself before the candidate asks again.
    fn refuse_candidate(&self, ballot: &Ballot) -> Option<Reply> {
        let lost = match self.rest.state() {
            State::Awake | State::Waking => return None,
            State::Quiet(None) => false,
            State::Quiet(Some(watched)) => self.peers.is_lost(watched.leader, watched.life),
        };
        self.stir();
        if lost {
            return None;
        }
        let (vote, last) = self.replica.vote();
        tracing::debug!(group = %self.id, candidate = %ballot.vote, "refused a candidate in a quiet leader's place");
        Some(Reply::Vote { vote, granted: false, last })
    }

    /// As the leader: has the whole group sleep if it can. Whether it does.
    pub(super) async fn fall_quiet(&self) -> bool {
        let patience = self.options.election_timeout.0;
        let Some(settled) = self.replica.settled(patience) else { return false };
        self.rest.hold_still();
        let round = Request::Quiesce(Quiesce { vote: settled.vote, last: settled.last, life: self.peers.life() });
        let asked = settled.others.iter().map(|to| self.caller.call(*to, self.id, round.clone(), patience));
        let agreed = join_all(asked).await.iter().all(|answer| matches!(answer, Ok(Reply::Quiesced(true))));
        let asleep = agreed && self.replica.settled(patience * 4).as_ref() == Some(&settled) && self.rest.lie_down();
        if asleep {
            self.metrics.quieted.increment(1);
        } else {
            self.rest.get_up();
        }
        asleep
    }

    /// As a follower: whether it sleeps from now on.
    pub(crate) fn quiesce(&self, asked: Quiesce) -> bool {
        if self.options.quiesces_after().is_none() || !self.replica.is_settled_at(asked.vote, asked.last) {
            return false;
        }
        let watched = Watched { leader: asked.vote.node, life: asked.life, since: self.env.now() };
        let asleep = self.rest.follow_to_sleep(watched);
        self.metrics.quieted.increment(u64::from(asleep));
        asleep
    }

    /// Has this replica keep time again, the leader after a quorum has confirmed it.
    pub(super) async fn wake_up(self: &Arc<Self>) {
        self.metrics.woken.increment(1);
        if self.replica.leads() {
            self.replica.tick(true);
            // Confirmed or not: a leader that is none any more learns it so, and what comes next is judged by the core.
            let _ = self.replica.read_index(self.options.election_timeout.1).await;
        } else {
            self.ask_leader_to_wake().await;
        }
        self.rest.get_up();
    }

    /// Returns when the leader was heard of, or when it is this follower's turn to go on without.
    async fn ask_leader_to_wake(&self) {
        let leader = self.replica.leadership().borrow().leader;
        let mut state = self.rest.subscribe();
        let heard = pin!(state.wait_for(|state| *state == State::Awake));
        let asked = pin!(async {
            if let Some(leader) = leader.filter(|leader| *leader != self.node) {
                let _ = self.caller.call(leader, self.id, Request::Wake, self.options.heartbeat).await;
            }
            self.env.sleep(self.options.election_timeout.0 * self.turn(leader)).await;
        });
        select(heard, asked).await;
    }

    /// This node's place among those that may follow `leader`; each group begins with another one.
    fn turn(&self, leader: Option<NodeId>) -> u32 {
        let mut voters = self.replica.leadership().borrow().membership.voter_ids();
        voters.retain(|voter| Some(*voter) != leader);
        let place = voters.iter().position(|voter| *voter == self.node).unwrap_or(voters.len());
        let count = voters.len().max(1) as u64;
        let turn = (place as u64 + self.id.0 % count) % count;
        u32::try_from(turn).unwrap_or(0)
    }
}

/// A leader whose whole group stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) vote: Vote,
    pub(crate) last: crate::types::LogId,
    /// All other replicas.
    pub(crate) others: Vec<NodeId>,
}
