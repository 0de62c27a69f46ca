//! What all groups of a process share: the network, the environment, the settings, and node ids.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::try_join_all;
use quorate::env::{Env, RealEnv, SeededEnv};
use quorate::transport::MemoryNetwork;
use quorate::types::{ClusterId, GroupId, NodeId};
use quorate::{Fatal, GroupOptions};

use super::disk::{WorldDisk, node_id};
use crate::disk::{OfGroup, Stores, Whose, seed_of_life};

/// The world of one process's groups.
#[derive(Clone)]
pub struct World {
    pub(super) env: Arc<dyn Env>,
    pub(super) network: MemoryNetwork,
    pub(super) cluster: ClusterId,
    pub(super) options: GroupOptions,
    next_node: Arc<AtomicU64>,
    next_group: Arc<AtomicU64>,
    /// Where everything is kept, if it is.
    disk: Option<Arc<WorldDisk>>,
}

/// A replica's node, and what the replica is made of.
pub(super) type Place = (NodeId, OfGroup);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl World {
    /// A world of its own, with real clocks. The network's faults are drawn from `seed`.
    pub fn new(options: GroupOptions, seed: u64) -> Self {
        Self::with_env(Arc::new(RealEnv), options, seed)
    }

    /// A world of its own, with real clocks; its random choices follow from `seed`, if there is one.
    pub fn seeded(options: GroupOptions, seed: Option<u64>) -> Self {
        match seed {
            Some(seed) => Self::with_env(Arc::new(SeededEnv::new(seed)), options, seed),
            None => Self::new(options, RealEnv.random()),
        }
    }

    /// A world on the given environment.
    pub fn with_env(env: Arc<dyn Env>, options: GroupOptions, seed: u64) -> Self {
        let network = MemoryNetwork::new(Arc::clone(&env), seed);
        let cluster = ClusterId(env.random());
        World { env, network, cluster, options, next_node: Arc::default(), next_group: Arc::default(), disk: None }
    }

    /// A world that keeps everything in `dir`, and goes on with what was kept there.
    ///
    /// # Errors
    /// When the directory is in use, damaged, or of another topology.
    pub(crate) async fn open(
        dir: &Path,
        whose: Whose,
        options: GroupOptions,
        seed: Option<u64>,
    ) -> anyhow::Result<Self> {
        let dir = dir.to_owned();
        let disk = tokio::task::spawn_blocking(move || WorldDisk::open(&dir, &whose)).await??;
        let world = Self::seeded(options, seed.map(|seed| seed_of_life(seed, disk.lives())));
        Ok(World { disk: Some(Arc::new(disk)), ..world })
    }

    /// The groups that were named in this world before, in this process or an earlier one; none if nothing is kept.
    pub(crate) fn kept_groups(&self) -> Vec<String> {
        self.disk.as_ref().map(|disk| disk.groups()).unwrap_or_default()
    }

    /// Whether it goes on with what was kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.disk.is_some()
    }

    /// Writes what is queued. Nothing in this world may go on afterwards.
    pub async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.close().await;
        }
    }

    /// The network between all replicas.
    pub fn network(&self) -> &MemoryNetwork {
        &self.network
    }

    /// Clocks, randomness, tasks.
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// How groups run.
    pub fn options(&self) -> &GroupOptions {
        &self.options
    }

    /// A group's number, and the places of its replicas, each on the node of its name. Names count only where something is
    /// kept.
    ///
    /// # Errors
    /// [`Fatal`] when what is kept is damaged.
    pub(super) async fn place(&self, group: &str, nodes: &[String]) -> Result<(GroupId, Vec<Place>), Fatal> {
        let Some(disk) = &self.disk else {
            let id = GroupId(self.next_group.fetch_add(1, Ordering::Relaxed) + 1);
            let place =
                |_| Ok((NodeId(self.next_node.fetch_add(1, Ordering::Relaxed) + 1), Stores::in_memory().of(id)?));
            return Ok((id, nodes.iter().map(place).collect::<Result<_, Fatal>>()?));
        };
        let id = disk.group(group)?;
        let place = async |(nth, name): (usize, &String)| Ok((node_id(id, nth), disk.node(name).await?.of(id)?));
        let places = try_join_all(nodes.iter().enumerate().map(place)).await?;
        Ok((id, places))
    }
}
