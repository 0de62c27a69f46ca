//! A sharded store in one process: a controller, groups as they are named, drivers, and a client.

use std::sync::Arc;

use quorate::Fatal;
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::KvMachine;

use super::client::KvClient;
use super::driver::DriverOptions;
use super::groups::ShardGroups;
use super::reach::Reach;
use crate::embedded::{self, EmbeddedGroup, ReplicaFault, World};

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
    controller: Arc<EmbeddedGroup<ConfigLog>>,
    groups: Arc<ShardGroups>,
    client: Arc<KvClient>,
}

impl ShardedStore {
    /// Starts a store with a controller, and with the groups that were kept in its world.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn start(world: World, options: StoreOptions) -> Result<Arc<Self>, Fatal> {
        let nodes = embedded::nodes(options.replicas);
        let controller = EmbeddedGroup::start_named(&world, "controller", &nodes, ConfigLog::default).await?;
        let configs: Arc<dyn Reach<ConfigLog>> = Arc::<EmbeddedGroup<ConfigLog>>::clone(&controller);
        let groups = Arc::new(ShardGroups::new(world.clone(), &options, Some(Arc::clone(&configs))));
        groups.ensure(groups.kept()).await?;
        let client = Arc::new(KvClient::new(Arc::clone(world.env()), configs, groups.directory()));
        Ok(Arc::new(ShardedStore { world, controller, groups, client }))
    }

    /// Starts the groups that do not run yet. Each follows the configuration log from its beginning.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn ensure_groups(&self, gids: impl IntoIterator<Item = Gid>) -> Result<(), Fatal> {
        self.groups.ensure(gids).await
    }

    /// Does something to a replica of a group; see [`ShardGroups::fault`].
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start again.
    pub async fn fault(&self, gid: &Gid, replica: usize, fault: ReplicaFault) -> Result<(), Fatal> {
        self.groups.fault(gid, replica, fault).await
    }

    /// The routing client.
    pub fn client(&self) -> &Arc<KvClient> {
        &self.client
    }

    /// The controller's group.
    pub fn controller(&self) -> &Arc<EmbeddedGroup<ConfigLog>> {
        &self.controller
    }

    /// The groups.
    pub fn groups(&self) -> &Arc<ShardGroups> {
        &self.groups
    }

    /// A group by its name.
    pub fn group(&self, gid: &Gid) -> Option<Arc<EmbeddedGroup<KvMachine>>> {
        self.groups.get(gid)
    }

    /// The names of all groups that run here.
    pub fn gids(&self) -> Vec<Gid> {
        self.groups.gids()
    }

    /// What the groups share.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Stops everything.
    pub async fn shutdown(&self) {
        self.groups.shutdown().await;
        self.controller.shutdown().await;
        self.world.close().await;
    }
}
