//! The shard groups of one process, by name, each replica with its driver.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::{BoxFuture, try_join_all};
use quorate::Fatal;
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::KvMachine;

use super::driver::{Driver, DriverOptions};
use super::reach::{Directory, Reach};
use super::store::StoreOptions;
use crate::embedded::{self, EmbeddedGroup, ReplicaFault, World};

/// What the names of shard groups begin with where they are kept.
const KEPT: &str = "group ";

fn kept_name(gid: &Gid) -> String {
    format!("{KEPT}{gid}")
}

/// Shard groups that are started as they are named.
pub struct ShardGroups {
    world: World,
    replicas: usize,
    driver: DriverOptions,
    session_ttl: Duration,
    /// The configuration log that they follow; without one they are told their configurations.
    configs: Option<Arc<dyn Reach<ConfigLog>>>,
    running: Arc<Running>,
    /// Groups are started one at a time.
    starting: tokio::sync::Mutex<()>,
}

/// Apart from [`ShardGroups`]: drivers hold it, and must not keep the groups' own handles in a circle with it.
#[derive(Default)]
struct Running(RwLock<BTreeMap<Gid, Arc<EmbeddedGroup<KvMachine>>>>);

impl Running {
    fn get(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(gid).cloned()
    }
}

impl Directory for Running {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.get(gid).map(|group| group as Arc<dyn Reach<KvMachine>>)
    }
}

impl std::fmt::Debug for ShardGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardGroups").field("gids", &self.gids()).finish_non_exhaustive()
    }
}

impl ShardGroups {
    /// No group yet. Those to come follow `configs` from its beginning, if there is one.
    pub fn new(world: World, options: &StoreOptions, configs: Option<Arc<dyn Reach<ConfigLog>>>) -> Self {
        let StoreOptions { replicas, driver, session_ttl } = options.clone();
        let (running, starting) = (Arc::default(), tokio::sync::Mutex::default());
        ShardGroups { world, replicas, driver, session_ttl, configs, running, starting }
    }

    /// Starts the groups that do not run yet.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn ensure(&self, gids: impl IntoIterator<Item = Gid>) -> Result<(), Fatal> {
        let _one_at_a_time = self.starting.lock().await;
        let mut new: Vec<Gid> = Vec::new();
        for gid in gids {
            if self.get(&gid).is_none() && !new.contains(&gid) {
                new.push(gid);
            }
        }
        if self.world.is_kept() {
            // Each may have to wait for what an earlier life has promised.
            try_join_all(new.iter().map(|gid| self.start(gid))).await?;
        } else {
            for gid in &new {
                self.start(gid).await?;
            }
        }
        Ok(())
    }

    fn start<'a>(&'a self, gid: &'a Gid) -> BoxFuture<'a, Result<(), Fatal>> {
        // Boxed: its type is deeper than the compiler cares to look into where it is spawned.
        Box::pin(async move {
            let session_ttl = self.session_ttl;
            let (name, nodes) = (kept_name(gid), embedded::nodes(self.replicas));
            let make = move || KvMachine::new(session_ttl);
            let group = EmbeddedGroup::start_named(&self.world, &name, &nodes, make).await?;
            let mut running = self.running.0.write().unwrap_or_else(PoisonError::into_inner);
            running.insert(gid.clone(), Arc::clone(&group));
            drop(running);
            for replica in 0..group.replicas() {
                self.drive(gid, &group, replica);
            }
            Ok(())
        })
    }

    /// The groups that an earlier process has kept in this world.
    pub fn kept(&self) -> Vec<Gid> {
        self.world.kept_groups().iter().filter_map(|name| name.strip_prefix(KEPT)).map(Gid::new).collect()
    }

    /// Starts the driver of a replica that was started.
    fn drive(&self, gid: &Gid, group: &EmbeddedGroup<KvMachine>, replica: usize) {
        if let Some(own) = group.running(replica) {
            let (env, configs) = (Arc::clone(self.world.env()), self.configs.clone());
            let driver = Driver::new(gid.clone(), own, configs, self.directory(), env, self.driver.clone());
            self.world.env().spawn(Box::pin(driver.run()));
        }
    }

    /// Does something to a replica of a group. A replica that is started gets its driver again.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start again.
    pub async fn fault(&self, gid: &Gid, replica: usize, fault: ReplicaFault) -> Result<(), Fatal> {
        let Some(group) = self.get(gid) else { return Ok(()) };
        let was_running = group.running(replica).is_some();
        group.fault(replica, fault).await?;
        if fault == ReplicaFault::Start && !was_running {
            self.drive(gid, &group, replica);
        }
        Ok(())
    }

    /// A group by its name.
    pub fn get(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.running.get(gid)
    }

    /// The names of all groups that were started.
    pub fn gids(&self) -> Vec<Gid> {
        self.running.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The way to each group.
    pub fn directory(&self) -> Arc<dyn Directory> {
        Arc::<Running>::clone(&self.running)
    }

    /// Stops all groups.
    pub async fn shutdown(&self) {
        let groups: Vec<_> = self.gids().iter().filter_map(|gid| self.get(gid)).collect();
        futures::future::join_all(groups.iter().map(|group| group.shutdown())).await;
    }
}
