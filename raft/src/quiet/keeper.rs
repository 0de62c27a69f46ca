//! Sees to it that one replica falls asleep and wakes: a task for each, which a quiet replica's does not run.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{Either, select};

use super::rest::State;
use crate::env::{Env, Moment};
use crate::group::{GroupCore, Leadership};
use crate::host::Peers;
use crate::planted::{self, Bug};
use crate::watch;

/// So often in the time after which it sleeps a leader looks whether it was asked anything.
const LOOKS: u32 = 4;

/// After so many last rounds that failed the time until the next one does not grow any more.
const FAILURES_MAX: u32 = 6;

/// One replica's keeper. Does not keep the replica alive.
struct Keeper {
    core: Weak<GroupCore>,
    env: Arc<dyn Env>,
    peers: Arc<Peers>,
    state: watch::Receiver<State>,
    leadership: watch::Receiver<Leadership>,
    after: Duration,
    /// How often the node of a leader that is followed in sleep is pinged.
    ping_every: Duration,
    idle_since: Moment,
    failures: u32,
    /// Whether others may sleep because this replica said so.
    put_to_sleep: bool,
}

/// What `future` comes to, unless `end` comes first.
async fn first<T>(future: impl Future<Output = T>, end: impl Future) -> Option<T> {
    match select(pin!(future), pin!(end)).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// Keeps a replica, if it may sleep, until it stops.
pub(crate) fn keep(core: &Arc<GroupCore>) {
    let Some(after) = core.options.quiesces_after() else { return };
    let keeper = Keeper {
        core: Arc::downgrade(core),
        env: Arc::clone(&core.env),
        peers: Arc::clone(&core.peers),
        state: core.rest.subscribe(),
        leadership: core.replica.leadership(),
        after,
        ping_every: core.options.election_timeout.0,
        idle_since: core.env.now(),
        failures: 0,
        put_to_sleep: false,
    };
    core.env.spawn(Box::pin(keeper.run()));
}

impl Keeper {
    async fn run(mut self) {
        let mut leadership = self.leadership.clone();
        loop {
            let stopped = leadership.wait_for(|now| now.stopped.is_some());
            if first(self.step(), stopped).await != Some(true) {
                break;
            }
        }
        if self.put_to_sleep {
            // Those who sleep by this replica's word see its node, but it does not lead them any more.
            self.peers.renew();
        }
        if let Some(core) = self.core.upgrade() {
            // Nobody is to wait for it to wake.
            core.rest.get_up();
        }
    }

    /// What is due in the present state. False when the replica is gone.
    async fn step(&mut self) -> bool {
        let state = *self.state.borrow_and_update();
        match state {
            State::Awake => {
                let look = self.env.sleep(self.after / LOOKS);
                match first(self.state.changed(), look).await {
                    Some(changed) => changed.is_ok(),
                    None => self.look().await,
                }
            }
            State::Quiet(None) => self.state.changed().await.is_ok(),
            State::Quiet(Some(watched)) => {
                let peer = self.peers.watch(watched.leader, self.ping_every);
                match first(self.state.changed(), peer.lost(watched.life)).await {
                    Some(changed) => changed.is_ok(),
                    None if planted::is(Bug::NobodyWakes) => self.state.changed().await.is_ok(),
                    None => self.core.upgrade().map(|core| core.rest.rouse()).is_some(),
                }
            }
            State::Waking => {
                let Some(core) = self.core.upgrade() else { return false };
                core.wake_up().await;
                self.idle_since = self.env.now();
                true
            }
        }
    }

    /// Has the group sleep if this replica leads it and nobody has asked it anything for long enough.
    async fn look(&mut self) -> bool {
        let Some(core) = self.core.upgrade() else { return false };
        let now = self.env.now();
        if core.rest.take_touched() || !core.replica.leads() {
            self.idle_since = now;
            self.failures = 0;
            return true;
        }
        if now.since(self.idle_since) < self.after * (1 << self.failures) {
            return true;
        }
        self.put_to_sleep = true;
        if !core.fall_quiet().await {
            self.idle_since = self.env.now();
            self.failures = (self.failures + 1).min(FAILURES_MAX);
        }
        true
    }
}
