//! The groups that this node hosts: the configuration log's, if it is a controller, and every shard group that names it.
//!
//! Promises: a group that some configuration names is found by its name, here or elsewhere; a replica that this node ever
//! had to have runs again when the node starts again.
//! Leaves out: taking a replica down whose group has left and given everything away: it stays, and costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate::env::Env;
use quorate::fs::Fs;
use quorate::log::DiskLog;
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::DiskSnapshots;
use quorate::{Consistency, Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, NodeId, StateMachine};
use quorate_statemachines::configlog::{Config, ConfigLog, Query};
use quorate_statemachines::kv::{KvDatabase, KvMachine};
use quorate_statemachines::{ConfigNumber, Gid};
use twox_hash::XxHash3_64;

use super::reach::Served;
use crate::kv::{Directory, Driver, DriverOptions, Reach};

/// The configuration log's group.
pub(crate) const CONTROLLER: GroupId = GroupId(1);

/// The configuration log's name among the groups.
pub(crate) const CONTROLLER_NAME: &str = "controller";

/// Shard groups have ids from here on; the ones below are for groups that a cluster has once.
const SHARD_GROUPS: u64 = 1 << 16;

/// How long one question to the configuration log may take, and how long one waits for news of it.
const ASK: Duration = Duration::from_secs(1);

/// The pause after the configuration log could not be asked.
const PAUSE: Duration = Duration::from_millis(50);

/// The id of a shard group: of its name alone, so that all nodes agree without a word.
pub(crate) fn group_id(gid: &Gid) -> GroupId {
    GroupId(SHARD_GROUPS + XxHash3_64::oneshot(gid.0.as_bytes()) % (u64::MAX - SHARD_GROUPS))
}

/// A server's name among a group's servers.
pub(super) fn node_name(node: NodeId) -> String {
    format!("n{}", node.0)
}

/// The node of a name.
pub(super) fn node_of(name: &str) -> Option<NodeId> {
    name.strip_prefix('n').and_then(|number| number.parse().ok()).map(NodeId)
}

/// What replicas are made of.
pub(super) struct Stores {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) env: Arc<dyn Env>,
    pub(super) log: Arc<DiskLog>,
    pub(super) snapshots: PathBuf,
    pub(super) database: Arc<KvDatabase>,
}

/// A node's groups.
pub(super) struct Groups {
    node: NodeId,
    host: Arc<Host>,
    stores: Stores,
    options: GroupOptions,
    configs: Arc<Served<ConfigLog>>,
    known: Known,
}

/// Apart from [`Groups`]: clients and drivers hold it, and must not keep the host in a circle with it.
pub(super) type Known = Arc<Directories>;

/// The shard groups by name.
#[derive(Default)]
pub(super) struct Directories(RwLock<BTreeMap<Gid, Arc<Served<KvMachine>>>>);

impl Directories {
    pub(super) fn get(&self, gid: &Gid) -> Option<Arc<Served<KvMachine>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(gid).cloned()
    }

    pub(super) fn all(&self) -> BTreeMap<Gid, Arc<Served<KvMachine>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Directory for Directories {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.get(gid).map(|served| served as Arc<dyn Reach<KvMachine>>)
    }
}

impl Groups {
    /// Starts the configuration log's replica, if this node is to have one.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub(super) async fn start(
        host: Arc<Host>,
        stores: Stores,
        options: GroupOptions,
        controllers: BTreeSet<NodeId>,
    ) -> Result<Arc<Groups>, Fatal> {
        let node = host.node();
        let configs = Arc::new(Served::elsewhere(node, host.remote(CONTROLLER, controllers.clone())));
        let groups = Groups { node, host, stores, options, configs, known: Known::default() };
        if controllers.contains(&node) {
            let group = groups.host(CONTROLLER, ConfigLog::default(), controllers).await?;
            groups.configs.is_here(group);
        }
        Ok(Arc::new(groups))
    }

    /// The configuration log.
    pub(super) fn configs(&self) -> &Arc<Served<ConfigLog>> {
        &self.configs
    }

    /// The shard groups.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// Starts a replica on what the stores hold. Every node of a new group makes it, with the same voters, which comes to one
    /// group: so it serves as soon as a majority is there, whoever is missing.
    async fn host<M: StateMachine>(&self, id: GroupId, machine: M, nodes: BTreeSet<NodeId>) -> Result<Group<M>, Fatal> {
        let Stores { fs, env, log, snapshots, .. } = &self.stores;
        let snapshots = DiskSnapshots::open(Arc::clone(fs), Arc::clone(env), snapshots, id);
        let snapshots = snapshots.map_err(|error| Fatal(format!("snapshots of {id}: {error}")))?;
        let spec = GroupSpec {
            id,
            machine,
            log: log.group(id),
            snapshots: Arc::new(snapshots),
            options: self.options.clone(),
        };
        let group = self.host.create_group(spec).await?;
        // Refused when the log is not empty: then the group was made before.
        if let Err(refusal) = group.initialize(nodes).await {
            tracing::debug!(%id, %refusal, "the group is not new");
        }
        Ok(group)
    }

    /// Follows the configuration log, and hosts what it wants hosted here; for ever.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub(super) async fn follow(self: Arc<Self>) -> Fatal {
        let (mut at, mut applied) = (ConfigNumber(0), None);
        loop {
            match self.configs.read(Consistency::Local, &Query::After(at), ASK, 1).await {
                Ok(reply) => match reply.answer {
                    Some(config) => {
                        if let Err(fatal) = self.take(&config).await {
                            return fatal;
                        }
                        at = config.number;
                    }
                    None => applied = self.configs.changed(applied.max(reply.proof.applied), ASK).await,
                },
                Err(error) => {
                    tracing::debug!(%error, "the configuration log does not answer");
                    self.stores.env.sleep(PAUSE).await;
                }
            }
        }
    }

    /// Gets to know the groups of a configuration.
    async fn take(&self, config: &Config) -> Result<(), Fatal> {
        for (gid, servers) in &config.groups {
            if self.known.get(gid).is_some() {
                continue;
            }
            let id = group_id(gid);
            let nodes: BTreeSet<NodeId> = servers.iter().filter_map(|name| node_of(name)).collect();
            if let Some((other, _)) = self.known.all().iter().find(|(other, _)| group_id(other) == id) {
                return Err(Fatal(format!("groups {gid} and {other} have the same id: one must have another name")));
            }
            let served = Arc::new(Served::elsewhere(self.node, self.host.remote(id, nodes.clone())));
            if nodes.contains(&self.node) {
                served.is_here(self.host(id, self.machine(id).await?, nodes).await?);
            }
            self.known.0.write().unwrap_or_else(PoisonError::into_inner).insert(gid.clone(), Arc::clone(&served));
            if let Some(own) = served.here() {
                self.drive(gid, own);
            }
        }
        Ok(())
    }

    /// A shard group's machine, as it was persisted last.
    async fn machine(&self, id: GroupId) -> Result<KvMachine, Fatal> {
        let database = Arc::clone(&self.stores.database);
        let opened = tokio::task::spawn_blocking(move || KvMachine::open(&database, id, DEFAULT_TTL)).await;
        let opened = opened.map_err(|error| Fatal(format!("state of {id}: {error}")))?;
        opened.map_err(|error| Fatal(format!("state of {id}: {error}")))
    }

    fn drive(&self, gid: &Gid, own: Group<KvMachine>) {
        let configs: Arc<dyn Reach<ConfigLog>> = Arc::<Served<ConfigLog>>::clone(&self.configs);
        let directory: Arc<dyn Directory> = Arc::<Directories>::clone(&self.known);
        let env = &self.stores.env;
        let driver = Driver::new(gid.clone(), own, Some(configs), directory, Arc::clone(env), DriverOptions::default());
        env.spawn(Box::pin(driver.run()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_groups_follow_from_their_names_and_leave_the_first_ones_free() {
        let id = |name: &str| group_id(&Gid::new(name));
        assert_eq!(id("g1"), id("g1"));
        assert_ne!(id("g1"), id("g2"));
        assert!((0..1000).all(|nth| id(&format!("g{nth}")).0 >= SHARD_GROUPS));
        assert_eq!(node_of(&node_name(NodeId(17))), Some(NodeId(17)));
        assert_eq!(node_of("server1"), None);
    }
}
