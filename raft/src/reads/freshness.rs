//! How fresh a follower's state provably is, without trusting any two clocks to agree.
//!
//! A follower stamps its own monotonic clock `t0` *before* it asks the leader for a read index. The leader confirms its
//! leadership by a quorum after the question arrived; so every write acknowledged before `t0` is at or below that index.
//! When the follower has applied the index, its state is at least as fresh as `t0`, whatever happened to either machine
//! in between: a pause or a slow network only makes `now - t0` larger. The clock counts suspended time.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::Shared;

use crate::env::{BoxFuture, Moment};
use crate::error::Rejected;
use crate::group::GroupCore;
use crate::planted::{self, Bug};
use crate::transport::{ReadIndex, Reply, Request};

/// The newest proof, and the probe that is under way.
#[derive(Default)]
pub(crate) struct Freshness {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The state is at least as fresh as this moment.
    proven: Option<Moment>,
    probe: Option<Probe>,
}

/// A probe under way, shared by all who wait for it.
#[derive(Clone)]
struct Probe {
    started: Moment,
    done: Shared<BoxFuture<Option<Moment>>>,
}

impl Freshness {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How old the state can be at most at `now`; `None` when nothing is proven yet.
    pub(crate) fn age(&self, now: Moment) -> Option<Duration> {
        self.state().proven.map(|proven| now.since(proven))
    }

    fn prove(&self, moment: Moment) {
        let mut state = self.state();
        state.proven = state.proven.max(Some(moment));
    }
}

impl GroupCore {
    /// Joins the probe that is under way if it started at `not_before` or later, or starts one. Answers the moment that
    /// the state is at least as fresh as, once that is proven; `None` when the probe failed.
    pub(crate) fn probe(self: &Arc<Self>, not_before: Moment, wait: Duration) -> Shared<BoxFuture<Option<Moment>>> {
        let mut state = self.freshness.state();
        if let Some(probe) = &state.probe
            && probe.started >= not_before
            && probe.done.peek().is_none()
        {
            return probe.done.clone();
        }
        let started = self.env.now();
        let core = Arc::clone(self);
        let run: BoxFuture<_> = Box::pin(async move {
            let proven = core.run_probe(started, wait).await;
            if let Some(moment) = proven {
                core.freshness.prove(moment);
            }
            proven
        });
        let done = run.shared();
        state.probe = Some(Probe { started, done: done.clone() });
        drop(state);
        // Carried on by a task of its own: a reader that gives up must not stop it for the others.
        let carried = done.clone();
        self.env.spawn(Box::pin(async move {
            carried.await;
        }));
        done
    }

    async fn run_probe(&self, started: Moment, wait: Duration) -> Option<Moment> {
        // A lost question must not keep those who come later from asking again.
        let deadline = started + wait.min(self.options.election_timeout.1 * 4);
        let ReadIndex { index, .. } = self.ask_read_index(deadline).await.ok()?;
        self.until(deadline, pin!(self.replica.reach(index))).await?;
        Some(if planted::is(Bug::StalenessStampedLate) { self.env.now() } else { started })
    }

    /// A read index from whoever leads: asked once, of the leader that this replica knows of.
    pub(crate) async fn ask_read_index(&self, deadline: Moment) -> Result<ReadIndex, Rejected> {
        self.woken(deadline).await;
        let leader = self.replica.leadership().borrow().leader.ok_or(Rejected::NoLeader)?;
        let wait = self.left(deadline);
        if leader == self.node {
            return self.replica.read_index(wait).await.map_err(|not_here| not_here.rejected());
        }
        match self.caller.call(leader, self.id, Request::ReadIndex, wait).await {
            Ok(Reply::ReadIndex(Ok(index))) => Ok(index),
            Ok(Reply::ReadIndex(Err(crate::error::ReadError::Rejected(cause))) | Reply::Refused(cause)) => Err(cause),
            _ => Err(Rejected::NoLeader),
        }
    }
}
