//! Which nodes are alive: one ping for all the groups that sleep by a node's word.
//!
//! Promises: a node is lost once several pings in a row were not answered, each of them waited for, so that a pause of this
//! node loses nobody; or once it answers in another life. Nobody is pinged unless some quiet replica wants to know.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join;
use metrics::Counter;

use super::Caller;
use crate::env::Env;
use crate::transport::{Reply, Request};
use crate::types::{GroupId, NodeId};
use crate::watch;

/// After so many pings without an answer a node is lost.
const MISSES_MAX: u32 = 3;

/// The other nodes that this one's quiet replicas watch, and its own life.
pub(crate) struct Peers {
    env: Arc<dyn Env>,
    caller: Caller,
    /// Differs from life to life of this node, and changes when a replica stops here by whose word others sleep.
    life: AtomicU64,
    watched: Mutex<BTreeMap<NodeId, Pinged>>,
    silences: Counter,
}

/// A node that is watched.
struct Pinged {
    watchers: usize,
    every: Duration,
    seen: watch::Sender<Seen>,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    life: Option<u64>,
    silent: bool,
}

impl Seen {
    fn is_lost(self, life: u64) -> bool {
        self.silent || self.life.is_some_and(|seen| seen != life)
    }
}

/// Has a node pinged for as long as it lives.
pub(crate) struct Watch {
    peers: Arc<Peers>,
    node: NodeId,
    seen: watch::Receiver<Seen>,
}

impl Peers {
    pub(crate) fn new(env: Arc<dyn Env>, caller: Caller, silences: Counter) -> Arc<Self> {
        let life = AtomicU64::new(env.random());
        Arc::new(Peers { env, caller, life, watched: Mutex::default(), silences })
    }

    /// What this node answers to pings.
    pub(crate) fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    /// From now on this node counts as another one to those who watch it.
    pub(crate) fn renew(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    fn watched(&self) -> MutexGuard<'_, BTreeMap<NodeId, Pinged>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether `node`, seen in `life`, is known to be lost.
    pub(crate) fn is_lost(&self, node: NodeId, life: u64) -> bool {
        self.watched().get(&node).is_some_and(|pinged| pinged.seen.borrow().is_lost(life))
    }

    /// Has `node` pinged, as often as the most impatient of those who watch it wants.
    pub(crate) fn watch(self: &Arc<Self>, node: NodeId, every: Duration) -> Watch {
        let mut watched = self.watched();
        let seen = match watched.entry(node) {
            Entry::Occupied(mut entry) => {
                let pinged = entry.get_mut();
                pinged.watchers += 1;
                pinged.every = pinged.every.min(every);
                pinged.seen.subscribe()
            }
            Entry::Vacant(entry) => {
                let (seen, receiver) = watch::channel(Seen::default());
                entry.insert(Pinged { watchers: 1, every, seen });
                self.env.spawn(Box::pin(Arc::clone(self).ping(node)));
                receiver
            }
        };
        drop(watched);
        Watch { peers: Arc::clone(self), node, seen }
    }

    /// Pings `node` for as long as somebody watches it.
    async fn ping(self: Arc<Self>, node: NodeId) {
        let mut misses = 0;
        while let Some(every) = self.next(node) {
            let answer = self.caller.call(node, GroupId::default(), Request::Ping, every);
            match join(answer, self.env.sleep(every)).await.0 {
                Ok(Reply::Alive { life }) => {
                    misses = 0;
                    self.saw(node, Seen { life: Some(life), silent: false });
                }
                _ => {
                    misses += 1;
                    if misses == MISSES_MAX {
                        self.silences.increment(1);
                        self.saw(node, Seen { life: None, silent: true });
                    }
                }
            }
        }
    }

    /// When the next ping but one is due; forgets a node that nobody watches.
    fn next(&self, node: NodeId) -> Option<Duration> {
        let mut watched = self.watched();
        let pinged = watched.get(&node).filter(|pinged| pinged.watchers > 0).map(|pinged| pinged.every);
        if pinged.is_none() {
            watched.remove(&node);
        }
        pinged
    }

    fn saw(&self, node: NodeId, now: Seen) {
        if let Some(pinged) = self.watched().get(&node) {
            pinged.seen.modify(|seen| std::mem::replace(seen, now) != now);
        }
    }
}

impl Watch {
    /// Returns once the node is lost, seen in `life`.
    pub(crate) async fn lost(&self, life: u64) {
        let mut seen = self.seen.clone();
        if seen.wait_for(|seen| seen.is_lost(life)).await.is_err() {
            // Not before this watch is dropped.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(pinged) = self.peers.watched().get_mut(&self.node) {
            pinged.watchers -= 1;
        }
    }
}
