//! The groups that this node hosts: the configuration log's, if it is a controller, and every shard group that names it.
//!
//! Promises: a group that some configuration names is found by its name, here or elsewhere; a replica that this node has runs
//! again when the node starts again; a group is made by the nodes that its first configuration names, and by no other.
//! Leaves out: which replicas there are to be (see `follow`); taking a group down that has left and given everything away: it
//! stays, and costs little.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate::env::Env;
use quorate::fs::Fs;
use quorate::log::DiskLog;
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::DiskSnapshots;
use quorate::{Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, NodeId, Role, StateMachine};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::{Book, ConfigLog};
use quorate_statemachines::kv::{KvDatabase, KvMachine};
use tokio::sync::watch;
use twox_hash::XxHash3_64;

use super::compare::compare_regularly;
use super::config::ServerConfig;
use super::fixed::Fixed;
use super::hosted::Hosted;
use super::keeper::{Wishes, keep};
use super::memory::Memory;
use crate::kv::{Directory, Driver, DriverOptions, Reach};
use crate::served::Served;

/// The configuration log's group.
pub(crate) const CONTROLLER: GroupId = GroupId(1);

/// The configuration log's name among the groups.
pub(crate) const CONTROLLER_NAME: &str = "controller";

/// Shard groups have ids from here on; the ones below are for groups that a cluster has once.
const SHARD_GROUPS: u64 = 1 << 16;

/// The id of a shard group: of its name alone, so that all nodes agree without a word.
pub(crate) fn group_id(gid: &Gid) -> GroupId {
    GroupId(SHARD_GROUPS + XxHash3_64::oneshot(gid.0.as_bytes()) % (u64::MAX - SHARD_GROUPS))
}

/// What replicas are made of.
pub(super) struct Stores {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) env: Arc<dyn Env>,
    pub(super) log: Arc<DiskLog>,
    pub(super) snapshots: PathBuf,
    pub(super) database: Arc<KvDatabase>,
}

impl Stores {
    /// What a replica of `group` is made of.
    pub(super) fn spec<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        options: &GroupOptions,
    ) -> Result<GroupSpec<M>, Fatal> {
        let snapshots = DiskSnapshots::open(Arc::clone(&self.fs), Arc::clone(&self.env), &self.snapshots, id);
        let snapshots = snapshots.map_err(|error| Fatal(format!("snapshots of {id}: {error}")))?;
        Ok(GroupSpec { id, machine, log: self.log.group(id), snapshots: Arc::new(snapshots), options: options.clone() })
    }

    /// A shard group's machine, as it was persisted last.
    pub(super) async fn machine(&self, id: GroupId) -> Result<KvMachine, Fatal> {
        let database = Arc::clone(&self.database);
        let opened = tokio::task::spawn_blocking(move || KvMachine::open(&database, id, DEFAULT_TTL)).await;
        let opened = opened.map_err(|error| Fatal(format!("state of {id}: {error}")))?;
        opened.map_err(|error| Fatal(format!("state of {id}: {error}")))
    }

    /// The same of groups whose machines keep nothing themselves.
    pub(super) fn fixed(&self) -> crate::disk::Stores {
        let (fs, env) = (Arc::clone(&self.fs), Arc::clone(&self.env));
        crate::disk::Stores::over(fs, env, self.snapshots.clone(), Arc::clone(&self.log))
    }

    /// Drops all files of a group that does not run here. Calling again goes on.
    async fn forget(&self, id: GroupId) -> Result<(), Fatal> {
        let fatal = |error: String| Fatal(format!("dropping the files of {id}: {error}"));
        self.log.forget(id).await.map_err(|error| fatal(error.to_string()))?;
        DiskSnapshots::forget(self.fs.as_ref(), &self.snapshots, id).map_err(|error| fatal(error.to_string()))?;
        let database = Arc::clone(&self.database);
        let forgotten = tokio::task::spawn_blocking(move || database.forget(id)).await;
        forgotten.map_err(|error| fatal(error.to_string()))?.map_err(|error| fatal(error.to_string()))
    }
}

/// A node's groups.
pub(super) struct Groups {
    node: NodeId,
    host: Arc<Host>,
    stores: Stores,
    options: GroupOptions,
    compare_every: Duration,
    memory: Memory,
    /// The nodes that the cluster began with, as this node was told.
    beginning: Book,
    configs: Arc<Served<ConfigLog>>,
    known: Known,
    fixed: Fixed,
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

    pub(super) fn insert(&self, gid: Gid, served: Arc<Served<KvMachine>>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(gid, served);
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
    /// A node's groups, none of which runs yet.
    pub(super) fn new(
        host: Arc<Host>,
        stores: Stores,
        options: GroupOptions,
        memory: Memory,
        fixed: Fixed,
        config: &ServerConfig,
    ) -> Arc<Groups> {
        let node = host.node();
        let configs = Arc::new(Served::elsewhere(node, host.remote(CONTROLLER, config.controllers())));
        let beginning = config.book();
        let (known, compare_every) = (Known::default(), config.compare_every());
        Arc::new(Groups { node, host, stores, options, compare_every, memory, beginning, configs, known, fixed })
    }

    /// This node.
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// The configuration log.
    pub(super) fn configs(&self) -> &Arc<Served<ConfigLog>> {
        &self.configs
    }

    /// The shard groups.
    pub(super) fn known(&self) -> &Known {
        &self.known
    }

    /// The groups that the configuration file names.
    pub(super) fn fixed(&self) -> &Fixed {
        &self.fixed
    }

    /// Any group by its name.
    pub(super) fn any(&self, name: &str) -> Option<Arc<dyn Hosted>> {
        if name == CONTROLLER_NAME {
            return Some(Arc::<Served<ConfigLog>>::clone(&self.configs));
        }
        let shards = || Some(self.known.get(&Gid::new(name))? as Arc<dyn Hosted>);
        self.fixed.get(name).or_else(shards)
    }

    /// All groups that are known here, by their names.
    pub(super) fn all(&self) -> Vec<(String, Arc<dyn Hosted>)> {
        let names = [CONTROLLER_NAME.to_owned()].into_iter();
        let names = names.chain(self.fixed.groups().iter().map(|group| group.name.clone()));
        let named = names.filter_map(|name| Some((name.clone(), self.any(&name)?)));
        let shards = self.known.all().into_iter().map(|(gid, served)| (gid.to_string(), served as Arc<dyn Hosted>));
        named.chain(shards).collect()
    }

    /// What this node remembers of its cluster.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The nodes that the cluster began with, as this node was told: what counts until a book is seen.
    pub(super) fn beginning(&self) -> &Book {
        &self.beginning
    }

    /// Whether a replica here leads, or has heard of its leader just now: who it believes to lead may have led long ago.
    pub(super) fn is_in_touch<M: StateMachine>(&self, group: &Group<M>, within: Duration) -> bool {
        let now = self.stores.env.now();
        let heard = |(_, at)| now.since(at) < within;
        group.watch().borrow().role == Role::Leader || group.leader_heard().is_some_and(heard)
    }

    /// Whether this node has something of the group on its disk, and has not begun to drop it.
    pub(super) fn has_files(&self, id: GroupId) -> bool {
        self.stores.log.groups().contains(&id) && !self.memory.is_dropping(id)
    }

    /// A way to a group of which this node has no replica.
    pub(super) fn elsewhere<M: StateMachine>(&self, id: GroupId, nodes: BTreeSet<NodeId>) -> Arc<Served<M>> {
        Arc::new(Served::elsewhere(self.node, self.host.remote(id, nodes)))
    }

    /// Starts the configuration log's replica. With `founders`, a new one makes the log together with them.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub(super) async fn host_configs(
        &self,
        founders: Option<BTreeSet<NodeId>>,
        wanted: watch::Receiver<BTreeSet<NodeId>>,
    ) -> Result<(), Fatal> {
        self.clear(CONTROLLER).await?;
        let wishes = self.wishes(None, wanted);
        let group = self.host(CONTROLLER, ConfigLog::default(), founders, wishes).await?;
        self.configs.is_here(group);
        Ok(())
    }

    /// Starts a shard group's replica. With `founders`, a new one makes the group together with them.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub(super) async fn host_shards(
        &self,
        gid: &Gid,
        served: &Served<KvMachine>,
        founders: Option<BTreeSet<NodeId>>,
        wanted: watch::Receiver<BTreeSet<NodeId>>,
    ) -> Result<(), Fatal> {
        let id = group_id(gid);
        self.clear(id).await?;
        let wishes = self.wishes(Some(gid.clone()), wanted);
        let group = self.host(id, self.stores.machine(id).await?, founders, wishes).await?;
        served.is_here(group.clone());
        self.drive(gid, group);
        Ok(())
    }

    /// Stops a replica that its group has let go, and drops its files.
    ///
    /// # Errors
    /// [`Fatal`] when a disk fails.
    pub(super) async fn drop_replica<M: StateMachine>(&self, id: GroupId, served: &Served<M>) -> Result<(), Fatal> {
        tracing::info!(group = %id, "this node replicates a group no more: its files are dropped");
        served.is_gone();
        self.host.stop_group(id).await;
        self.memory.leave(id)?;
        self.clear(id).await
    }

    /// Ends what an earlier life began to drop.
    pub(super) async fn clear(&self, id: GroupId) -> Result<(), Fatal> {
        if self.memory.is_dropping(id) {
            self.stores.forget(id).await?;
            self.memory.dropped(id)?;
        }
        Ok(())
    }

    /// Starts a replica on what the stores hold, and has it kept to the nodes that are wanted.
    ///
    /// Every one of a new group's founders makes it, with the same voters, which comes to one group: so it serves as soon as a
    /// majority is there, whoever is missing. Safe as long as nobody makes it who has dropped what it had of it.
    async fn host<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        founders: Option<BTreeSet<NodeId>>,
        wishes: Wishes,
    ) -> Result<Group<M>, Fatal> {
        let group = self.host.create_group(self.stores.spec(id, machine, &self.options)?).await?;
        if let Some(founders) = founders
            && self.memory.may_found(id)
            // Refused when the log is not empty: then the group was made before.
            && let Err(refusal) = group.initialize(founders).await
        {
            tracing::debug!(%id, %refusal, "the group is not new");
        }
        self.stores.env.spawn(Box::pin(keep(group.clone(), wishes)));
        self.stores.env.spawn(Box::pin(compare_regularly(group.clone(), self.compare_every)));
        Ok(group)
    }

    fn wishes(&self, gid: Option<Gid>, known: watch::Receiver<BTreeSet<NodeId>>) -> Wishes {
        Wishes { configs: Arc::clone(&self.configs), gid, known }
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
    }
}
