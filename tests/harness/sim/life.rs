//! One life of a simulated node, from its start to its crash, and the program that runs on it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::env::{Env, Gate};
use quorate::fs::{FaultyFs, Fs};
use quorate::log::LogStore;
use quorate::transport::{Inbound, MemoryNetwork, Transport};
use quorate::{Group, GroupId, NodeId, StateMachine};

use super::counts::Tally;
use super::env::NodeEnv;
use super::observer::Observer;
use super::trace::Trace;
use super::watched::{Watched, WatchedLog};
use super::wire::{Guarded, TracedTransport};
use super::world::Sim;

/// What a program on a node is, as the world keeps it: its scenario knows the type.
pub type AnyProcess = Arc<dyn Any + Send + Sync>;

/// What runs on the nodes.
#[async_trait::async_trait]
pub trait Program: Send + Sync + 'static {
    /// Starts a life of a node, on what its disk holds; runs behind the node's gate. The world keeps what this gives until the
    /// life ends, and [`Sim::process`] finds it.
    ///
    /// # Errors
    /// Why the node cannot start. A violation, unless its disk fails or is full.
    async fn boot(&self, life: &Life) -> Result<AnyProcess, String>;

    /// Does one of the scenario's own actions ([`super::Kind::Act`]) to `target`. Whether there was anything to do.
    async fn act(&self, sim: &Sim, name: &str, target: NodeId, amount: u64) -> bool {
        let _ = (sim, name, target, amount);
        false
    }
}

/// One life of a node: its ends of the world. Clones are the same life.
#[derive(Clone)]
pub struct Life(pub(super) Arc<Parts>);

pub(super) struct Parts {
    pub(super) node: NodeId,
    pub(super) number: u64,
    pub(super) env: Arc<NodeEnv>,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) faults: FaultyFs,
    pub(super) network: MemoryNetwork,
    pub(super) observer: Observer,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    /// The network does not keep it alive.
    pub(super) inbound: Mutex<Option<Arc<Guarded>>>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("node", &self.0.node).field("number", &self.0.number).finish_non_exhaustive()
    }
}

impl Life {
    /// The node.
    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// Which of its lives, from 1.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Its clocks, randomness and tasks.
    pub fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.0.env) as Arc<dyn Env>
    }

    /// Its disk.
    pub fn fs(&self) -> Arc<dyn Fs> {
        Arc::clone(&self.0.fs)
    }

    /// What goes wrong with its disk, beyond the plan's faults.
    pub fn disk_faults(&self) -> &FaultyFs {
        &self.0.faults
    }

    /// Its sending end of the network.
    pub fn transport(&self) -> Arc<dyn Transport> {
        let Parts { node, network, trace, tally, .. } = &*self.0;
        let inner = network.transport(*node);
        Arc::new(TracedTransport { node: *node, inner, trace: trace.clone(), tally: tally.clone() })
    }

    /// From now on `inbound`, a host say, receives the node's messages.
    pub fn register<I: Inbound>(&self, inbound: &Arc<I>) {
        let Parts { node, network, trace, tally, .. } = &*self.0;
        let inner: Arc<dyn Inbound> = Arc::<I>::clone(inbound);
        let (trace, tally) = (trace.clone(), tally.clone());
        let guarded = Arc::new(Guarded { node: *node, inner, gate: self.gate().clone(), trace, tally });
        network.register(*node, &guarded);
        *self.0.inbound.lock().unwrap_or_else(PoisonError::into_inner) = Some(guarded);
    }

    /// What all of its tasks are behind.
    pub fn gate(&self) -> &Gate {
        self.0.env.tasks()
    }

    /// A group's log, watched: every step of it is judged by Raft's invariants.
    pub async fn watch_log(&self, group: GroupId, log: Arc<dyn LogStore>) -> Arc<dyn LogStore> {
        let watched = WatchedLog::new(self.0.node, group, log, self.0.observer.clone());
        watched.begin_life().await;
        Arc::new(watched)
    }

    /// A group's machine, watched: what it applies is compared with what other replicas, and other lives, applied.
    pub fn watch_machine<M: StateMachine>(&self, group: GroupId, machine: M) -> Watched<M> {
        Watched::new(machine, self.0.node, group, self.0.observer.clone())
    }

    /// Watches who leads, as this replica sees it, as long as this life lasts.
    pub fn watch_group<M: StateMachine>(&self, group: &Group<M>) {
        let (observer, node, id) = (self.0.observer.clone(), self.0.node, group.id());
        let mut leadership = group.watch();
        // Not behind the gate: it tells what a paused node still believes, and nothing to the node. But it ends with it.
        let gate = self.gate().clone();
        tokio::spawn(async move {
            loop {
                let now = leadership.borrow_and_update().clone();
                if gate.has_ended() {
                    return;
                }
                observer.leadership(node, id, &now);
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    /// Writes a line of the node's into the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.trace.note(Some(self.0.node), what);
    }
}
