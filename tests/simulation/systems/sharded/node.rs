//! What runs on a node: a host, a log for all of its replicas, a replica of each group that it has a part in, their drivers.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate::env::Env;
use quorate::log::{DiskLog, DiskLogOptions};
use quorate::snapshot::DiskSnapshots;
use quorate::{ClusterId, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, StateMachine};
use quorate_harness::sim::{Life, Program, Sim};
use quorate_nodes::kv::{Directory, Driver, DriverOptions, Reach};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::KvMachine;

use super::layout::Layout;
use super::ways::{Traps, Ways};
use crate::systems::kept_log::Kept;

/// The cluster of all nodes and clients.
pub(super) const CLUSTER: ClusterId = ClusterId(5);

/// How the groups of a world run.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(super) group: GroupOptions,
    pub(super) driver: DriverOptions,
    pub(super) session_ttl: Duration,
}

/// The program of all nodes.
#[derive(Clone)]
pub(crate) struct Store {
    pub(super) layout: Arc<Layout>,
    pub(super) settings: Settings,
    pub(super) kept: Kept,
    pub(super) traps: Traps,
}

/// A node that runs.
pub(super) struct Node {
    _host: Arc<Host>,
    pub(super) groups: BTreeMap<Gid, Group<KvMachine>>,
}

/// What the replicas of a node are made of.
struct Stores<'a> {
    life: &'a Life,
    log: Arc<DiskLog>,
    host: &'a Arc<Host>,
    store: &'a Store,
}

impl Stores<'_> {
    /// Starts the replica of a group, which each of its nodes makes with the same voters.
    async fn replica<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        voters: BTreeSet<NodeId>,
    ) -> Result<Group<M>, String> {
        let life = self.life;
        let snapshots = DiskSnapshots::open(life.fs(), life.env(), Path::new("/snapshots"), id);
        let snapshots = snapshots.map_err(|error| error.to_string())?;
        let log = self.store.kept.keep(life.node(), id, self.log.group(id)).await.map_err(|error| error.to_string())?;
        let log = life.watch_log(id, log).await;
        let options = self.store.settings.group.clone();
        let spec = GroupSpec { id, machine, log, snapshots: Arc::new(snapshots), options };
        let group = self.host.create_group(spec).await.map_err(|fatal| fatal.0)?;
        life.watch_group(&group);
        // Refused when the log is not empty: then the group was made before.
        let _ = group.initialize(voters).await;
        Ok(group)
    }
}

#[async_trait]
impl Program for Store {
    async fn boot(&self, life: &Life) -> Result<Arc<dyn Any + Send + Sync>, String> {
        let env: Arc<dyn Env> = life.env();
        let options = DiskLogOptions { segment_bytes: 256 << 10, cache_bytes: 1 << 20, ..DiskLogOptions::default() };
        let log = DiskLog::open(life.fs(), Arc::clone(&env), Path::new("/log"), options);
        let log = log.map_err(|error| error.to_string())?;
        let config = HostConfig { node: life.node(), cluster: CLUSTER };
        let host = Host::new(config, Arc::clone(&env), life.transport());
        life.register(&host);
        let stores = Stores { life, log, host: &host, store: self };
        let ways = Arc::new(Ways::new(&host, &self.layout, Some(self.traps.clone())));
        let controllers = self.layout.controllers();
        if controllers.contains(&life.node()) {
            let controller = stores.replica(self.layout.controller(), ConfigLog::new(), controllers).await?;
            ways.configs.is_here(controller);
        }
        let mut groups = BTreeMap::new();
        for gid in self.layout.on(life.node()) {
            let machine = KvMachine::new(self.settings.session_ttl);
            let group = stores.replica(self.layout.id(&gid), machine, self.layout.nodes(&gid)).await?;
            ways.is_here(&gid, group.clone());
            groups.insert(gid, group);
        }
        for (gid, group) in &groups {
            let configs = Arc::clone(&ways.configs) as Arc<dyn Reach<ConfigLog>>;
            let directory = Arc::clone(&ways) as Arc<dyn Directory>;
            let options = self.settings.driver.clone();
            let driver = Driver::new(gid.clone(), group.clone(), Some(configs), directory, Arc::clone(&env), options);
            env.spawn(Box::pin(driver.run()));
        }
        Ok(Arc::new(Node { _host: host, groups }))
    }

    async fn act(&self, _: &Sim, name: &str, _: NodeId, amount: u64) -> bool {
        if name != TRAP {
            return false;
        }
        self.traps.add(amount);
        true
    }
}

/// The scenario's own fault: somebody loses power at a certain step of the next move.
pub(super) const TRAP: &str = "power lost in a move";
