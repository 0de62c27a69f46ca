//! What all groups of a process share: the network, the environment, the settings, and node ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate::GroupOptions;
use quorate::env::{Env, RealEnv, SeededEnv};
use quorate::transport::MemoryNetwork;
use quorate::types::{ClusterId, GroupId, NodeId};

/// The world of one process's groups.
#[derive(Clone)]
pub struct World {
    pub(super) env: Arc<dyn Env>,
    pub(super) network: MemoryNetwork,
    pub(super) cluster: ClusterId,
    pub(super) options: GroupOptions,
    next_node: Arc<AtomicU64>,
    next_group: Arc<AtomicU64>,
}

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
        World { env, network, cluster, options, next_node: Arc::default(), next_group: Arc::default() }
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

    pub(super) fn allocate_node(&self) -> NodeId {
        NodeId(self.next_node.fetch_add(1, Ordering::Relaxed) + 1)
    }

    pub(super) fn allocate_group(&self) -> GroupId {
        GroupId(self.next_group.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
