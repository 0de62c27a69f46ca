//! The ways of a node, or of a client, to the groups: over the network, as servers have it; and traps on the ways of moves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quorate::fs::CrashStyle;
use quorate::types::Index;
use quorate::{Consistency, Group, Host, NodeId, ReadError, ReadReply, WriteError, Written};
use quorate_harness::sim::Sim;
use quorate_nodes::kv::{Directory, Reach};
use quorate_nodes::served::Served;
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::{KvAnswer, KvCommand, KvMachine, KvQuery, KvReply};

use super::layout::Layout;

/// A call that a move makes from one group to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Chunk,
    Delta,
    Freeze,
    Delete,
    Installed,
}

const CALLS: [Call; 5] = [Call::Chunk, Call::Delta, Call::Freeze, Call::Delete, Call::Installed];

/// Who loses power at the next call of a kind, when, and for how long.
#[derive(Clone, Copy, Debug)]
struct Trap {
    call: Call,
    after: bool,
    /// The caller, or else the leader of the group that is called.
    caller: bool,
    lasts: Duration,
    seed: u64,
}

/// The traps that are set. Clones are the same.
#[derive(Clone)]
pub(super) struct Traps {
    sim: Sim,
    layout: Arc<Layout>,
    set: Arc<Mutex<Vec<Trap>>>,
}

impl Traps {
    pub(super) fn new(sim: Sim, layout: Arc<Layout>) -> Traps {
        Traps { sim, layout, set: Arc::default() }
    }

    fn set(&self) -> MutexGuard<'_, Vec<Trap>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets one, as `amount` decides.
    pub(super) fn add(&self, amount: u64) {
        let trap = Trap {
            call: CALLS[(amount % 5) as usize],
            after: amount & 32 == 0,
            caller: amount & 64 == 0,
            lasts: Duration::from_millis(50 + (amount >> 7) % 700),
            seed: amount,
        };
        self.sim.note(format_args!("== {trap:?}"));
        self.set().push(trap);
    }

    /// Takes all away.
    pub(super) fn clear(&self) {
        self.set().clear();
    }

    /// A call is about to be made, or has been made.
    async fn spring(&self, call: Option<Call>, after: bool, caller: NodeId, to: &Gid) {
        let Some(call) = call else { return };
        let sprung = {
            let mut set = self.set();
            let place = set.iter().position(|trap| trap.call == call && trap.after == after);
            place.map(|place| set.swap_remove(place))
        };
        let Some(trap) = sprung else { return };
        let victim = if trap.caller { Some(caller) } else { self.sim.leader(self.layout.id(to)) };
        let Some(victim) = victim else { return };
        self.sim.note(format_args!("== a trap: {victim} at a {call:?} of {caller} to {to}, after: {after}"));
        let (sim, lasts, seed) = (self.sim.clone(), trap.lasts, trap.seed);
        if victim == caller {
            // This very task is behind the gate that is about to end.
            tokio::spawn(async move { fell(&sim, victim, seed, lasts).await });
            return std::future::pending().await;
        }
        tokio::spawn(async move { fell(&sim, victim, seed, lasts).await });
        tokio::task::yield_now().await;
    }
}

/// A node loses power for a while.
async fn fell(sim: &Sim, victim: NodeId, seed: u64, lasts: Duration) {
    let style = if seed & 8 == 0 { CrashStyle::Prefix } else { CrashStyle::Scattered };
    sim.crash(victim, style, seed);
    sim.sleep(lasts).await;
    sim.boot(victim).await;
}

/// The ways from one host to all groups.
pub(super) struct Ways {
    pub(super) configs: Arc<Served<ConfigLog>>,
    groups: BTreeMap<Gid, Arc<Served<KvMachine>>>,
    from: NodeId,
    /// Clients spring no traps.
    traps: Option<Traps>,
}

impl Ways {
    pub(super) fn new(host: &Host, layout: &Layout, traps: Option<Traps>) -> Ways {
        let from = host.node();
        let configs = Arc::new(Served::elsewhere(from, host.remote(layout.controller(), layout.controllers())));
        let way = |gid: &Gid| {
            let remote = host.remote(layout.id(gid), layout.nodes(gid));
            (gid.clone(), Arc::new(Served::elsewhere(from, remote)))
        };
        Ways { configs, groups: layout.gids().iter().map(way).collect(), from, traps }
    }

    /// A replica of a group runs here.
    pub(super) fn is_here(&self, gid: &Gid, group: Group<KvMachine>) {
        if let Some(served) = self.groups.get(gid) {
            served.is_here(group);
        }
    }
}

impl Directory for Ways {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        let served = Arc::clone(self.groups.get(gid)?);
        match &self.traps {
            None => Some(served),
            Some(traps) => {
                let (traps, caller, to) = (traps.clone(), self.from, gid.clone());
                Some(Arc::new(Trapped { served, traps, caller, to }))
            }
        }
    }
}

/// A way with traps on it.
struct Trapped {
    served: Arc<Served<KvMachine>>,
    traps: Traps,
    caller: NodeId,
    to: Gid,
}

#[async_trait]
impl Reach<KvMachine> for Trapped {
    async fn write(
        &self,
        command: &KvCommand,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<KvReply>, WriteError> {
        let call = match command {
            KvCommand::Freeze { .. } => Some(Call::Freeze),
            KvCommand::Delete { .. } => Some(Call::Delete),
            _ => None,
        };
        self.traps.spring(call, false, self.caller, &self.to).await;
        let result = self.served.write(command, timeout, attempt).await;
        self.traps.spring(call, true, self.caller, &self.to).await;
        result
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &KvQuery,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<KvAnswer>, ReadError> {
        let call = match query {
            KvQuery::PullChunk { .. } => Some(Call::Chunk),
            KvQuery::PullDelta { .. } => Some(Call::Delta),
            KvQuery::Installed { .. } => Some(Call::Installed),
            _ => None,
        };
        self.traps.spring(call, false, self.caller, &self.to).await;
        let result = self.served.read(consistency, query, timeout, attempt).await;
        self.traps.spring(call, true, self.caller, &self.to).await;
        result
    }

    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        self.served.changed(past, timeout).await
    }
}
