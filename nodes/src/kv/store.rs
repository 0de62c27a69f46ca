//! A sharded store in one process: a controller, groups as they are named, drivers, and a client.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use quorate::Fatal;
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::KvMachine;

use super::client::KvClient;
use super::driver::{Driver, DriverOptions};
use super::reach::{Directory, Reach};
use crate::embedded::{EmbeddedGroup, ReplicaFault, World};

/// How a store is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Replicas of the controller and of each group.
    pub replicas: usize,
    /// How drivers work.
    pub driver: DriverOptions,
    /// Sessions that were not used for so long expire, by the time of their shard's log.
    pub session_ttl: std::time::Duration,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions {
            replicas: 3,
            driver: DriverOptions::default(),
            session_ttl: std::time::Duration::from_secs(3600),
        }
    }
}

/// A sharded store in this process.
#[derive(Debug)]
pub struct ShardedStore {
    world: World,
    options: StoreOptions,
    controller: Arc<EmbeddedGroup<ConfigLog>>,
    groups: Arc<ShardGroups>,
    client: Arc<KvClient>,
    /// Groups are started one at a time.
    starting: tokio::sync::Mutex<()>,
}

/// The groups by name.
#[derive(Debug, Default)]
struct ShardGroups(RwLock<BTreeMap<Gid, Arc<EmbeddedGroup<KvMachine>>>>);

impl ShardGroups {
    fn get(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(gid).cloned()
    }
}

impl Directory for ShardGroups {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.get(gid).map(|group| group as Arc<dyn Reach<KvMachine>>)
    }
}

impl ShardedStore {
    /// Starts a store with a controller and no groups.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn start(world: World, options: StoreOptions) -> Result<Arc<Self>, Fatal> {
        let controller = EmbeddedGroup::start(&world, options.replicas, ConfigLog::default).await?;
        let groups = Arc::<ShardGroups>::default();
        let configs: Arc<dyn Reach<ConfigLog>> = Arc::<EmbeddedGroup<ConfigLog>>::clone(&controller);
        let directory: Arc<dyn Directory> = Arc::<ShardGroups>::clone(&groups);
        let client = Arc::new(KvClient::new(Arc::clone(world.env()), configs, directory));
        let starting = tokio::sync::Mutex::default();
        Ok(Arc::new(ShardedStore { world, options, controller, groups, client, starting }))
    }

    /// Starts the groups that do not run yet. Each follows the configuration log from its beginning.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn ensure_groups(&self, gids: impl IntoIterator<Item = Gid>) -> Result<(), Fatal> {
        let _one_at_a_time = self.starting.lock().await;
        for gid in gids {
            if self.groups.get(&gid).is_some() {
                continue;
            }
            let ttl = self.options.session_ttl;
            let make = move || KvMachine::new(ttl);
            let group = EmbeddedGroup::start(&self.world, self.options.replicas, make).await?;
            self.groups.0.write().unwrap_or_else(PoisonError::into_inner).insert(gid.clone(), Arc::clone(&group));
            for replica in 0..group.replicas() {
                self.drive(&gid, &group, replica);
            }
        }
        Ok(())
    }

    /// Starts the driver of a replica that was started.
    fn drive(&self, gid: &Gid, group: &EmbeddedGroup<KvMachine>, replica: usize) {
        if let Some(own) = group.running(replica) {
            let configs: Arc<dyn Reach<ConfigLog>> = Arc::<EmbeddedGroup<ConfigLog>>::clone(&self.controller);
            let groups: Arc<dyn Directory> = Arc::<ShardGroups>::clone(&self.groups);
            let env = Arc::clone(self.world.env());
            let driver = Driver::new(gid.clone(), own, Some(configs), groups, env, self.options.driver.clone());
            self.world.env().spawn(Box::pin(driver.run()));
        }
    }

    /// Does something to a replica of a group. A replica that is started gets its driver again.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start again.
    pub async fn fault(&self, gid: &Gid, replica: usize, fault: ReplicaFault) -> Result<(), Fatal> {
        let Some(group) = self.groups.get(gid) else { return Ok(()) };
        let was_running = group.running(replica).is_some();
        group.fault(replica, fault).await?;
        if fault == ReplicaFault::Start && !was_running {
            self.drive(gid, &group, replica);
        }
        Ok(())
    }

    /// The routing client.
    pub fn client(&self) -> &Arc<KvClient> {
        &self.client
    }

    /// The controller's group.
    pub fn controller(&self) -> &Arc<EmbeddedGroup<ConfigLog>> {
        &self.controller
    }

    /// A group by its name.
    pub fn group(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.groups.get(gid)
    }

    /// The names of all groups that run here.
    pub fn gids(&self) -> Vec<Gid> {
        self.groups.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What the groups share.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Stops everything.
    pub async fn shutdown(&self) {
        let groups: Vec<_> = self.groups.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        futures::future::join_all(groups.iter().map(|group| group.shutdown())).await;
        self.controller.shutdown().await;
    }
}
