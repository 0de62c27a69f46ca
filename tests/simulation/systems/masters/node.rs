//! What runs on a node: one master, as its own process would have it.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use quorate::env::Env;
use quorate::log::{DiskLog, DiskLogOptions, LogStore};
use quorate::snapshot::DiskSnapshots;
use quorate::{ClusterId, GroupId, GroupOptions, Host, HostConfig, NodeId};
use quorate_harness::checker::epochs::{EpochFault, Epochs};
use quorate_harness::sim::{Life, Program, Sim};
use quorate_nodes::services::MasterOptions;
use quorate_nodes::services::master::{Command, MasterNode, Masters};
use quorate_statemachines::master::Office;
use rand::RngExt;

/// The masters' group.
pub(super) const GROUP: GroupId = GroupId(1);

/// What everybody has seen of epochs.
#[derive(Clone)]
pub(super) struct Seen {
    sim: Sim,
    epochs: Arc<Mutex<Epochs>>,
}

impl Seen {
    pub(super) fn new(sim: &Sim) -> Seen {
        Seen { sim: sim.clone(), epochs: Arc::default() }
    }

    /// Looks at, or adds to, what was seen.
    pub(super) fn judge(&self, look: impl FnOnce(&mut Epochs) -> Result<(), EpochFault>) {
        if let Err(fault) = look(&mut self.epochs.lock().unwrap_or_else(PoisonError::into_inner)) {
            self.sim.violate("an epoch has one primary, and everybody hears of it once", fault.to_string());
        }
    }

    /// Whose the newest epoch is.
    pub(super) fn newest_primary(&self) -> Option<String> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).newest_primary().map(str::to_owned)
    }

    /// The newest epoch.
    pub(super) fn newest(&self) -> u64 {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner).newest()
    }
}

/// The program of all nodes.
pub(super) struct Mastery {
    /// How many there are.
    pub(super) masters: u64,
    pub(super) group: GroupOptions,
    pub(super) options: MasterOptions,
    pub(super) seen: Seen,
}

/// A master that runs.
pub(super) struct Master {
    pub(super) masters: Arc<Masters>,
}

/// The name of a node's master.
pub(super) fn name(node: NodeId) -> String {
    format!("m{}", node.0)
}

impl Mastery {
    fn names(&self) -> Vec<String> {
        (1..=self.masters).map(|number| name(NodeId(number))).collect()
    }
}

#[async_trait]
impl Program for Mastery {
    async fn boot(&self, life: &Life) -> Result<Arc<dyn Any + Send + Sync>, String> {
        let env: Arc<dyn Env> = life.env();
        let options = DiskLogOptions { segment_bytes: 256 << 10, cache_bytes: 1 << 20, ..DiskLogOptions::default() };
        let log = DiskLog::open(life.fs(), Arc::clone(&env), Path::new("/log"), options);
        let log: Arc<dyn LogStore> = log.map_err(|error| error.to_string())?.group(GROUP);
        let snapshots = DiskSnapshots::open(life.fs(), Arc::clone(&env), Path::new("/snapshots"), GROUP);
        let snapshots = Arc::new(snapshots.map_err(|error| error.to_string())?);
        // Two masters go on alone by a rule of their own, which Raft's invariants do not know.
        let log = if self.masters > 2 { life.watch_log(GROUP, log).await } else { log };
        let config = HostConfig { node: life.node(), cluster: ClusterId(7) };
        let host = Host::new(config, Arc::clone(&env), life.transport());
        life.register(&host);
        let seen = self.seen.clone();
        let tell = move |me: &str, who: &str, office: &Office| {
            seen.judge(|epochs| epochs.told(office.epoch.0, me, who));
        };
        let (own, names) = (name(life.node()), self.names());
        let node = MasterNode { host, env, log, snapshots, group: self.group.clone() };
        let masters = Masters::start_on(node, &names, self.options.clone(), Box::new(tell)).await;
        let masters = masters.map_err(|fatal| fatal.0)?;
        if let Some(group) = masters.group_of(&own).filter(|_| self.masters > 2) {
            life.watch_group(&group);
        }
        Ok(Arc::new(Master { masters }))
    }

    async fn act(&self, sim: &Sim, action: &str, target: NodeId, amount: u64) -> bool {
        if action != FAILOVER {
            return false;
        }
        // An operator who may be wrong about who is the primary, and asks anybody.
        let names = self.names();
        let mut random = sim.random("failover", amount);
        let failed = match self.seen.newest_primary() {
            Some(primary) if !amount.is_multiple_of(4) => primary,
            _ => names[random.random_range(0..names.len())].clone(),
        };
        let to = amount.is_multiple_of(3).then(|| names[random.random_range(0..names.len())].clone());
        let Some(running) = sim.process::<Master>(target) else { return false };
        let command = Command::TriggerFailover { failed, to };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let name = name(target);
        let call = running.process.masters.call(&name, "operator", command, deadline);
        let answered = running.ask(PATIENCE, call).await;
        sim.note(format_args!("== failover at {target}: {:?}", answered.map(|answer| answer.is_ok())));
        true
    }
}

/// How long an operator waits.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The scenario's own fault.
pub(super) const FAILOVER: &str = "failover";
