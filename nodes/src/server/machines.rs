//! Machines that a program brings along: groups of them run in the server like its own.
//!
//! Promises: a group of `[[groups]]` is made by the nodes that it names, on the log, the snapshots and the connections of the
//! server's other groups; any server answers for it.
//! Leaves out: other nodes for it than the first ones; machines with a store of their own, which lies where they put it.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use quorate::{Fatal, GroupId, Host, NodeId, StateMachine};
use quorate_statemachines::Gid;
use quorate_statemachines::kv::KvMachine;
use serde::{Deserialize, Serialize};

use super::compare::compare_regularly;
use super::config::ServerConfig;
use super::groups::{CONTROLLER_NAME, group_id};
use super::hosted::Hosted;
use super::masters::MASTERS_NAME;
use super::{Server, Start};
use crate::hosting::Hosting;
use crate::query::Queries;
use crate::served::Served;

/// The machine of shards that a coordinator of queries keeps tables in; every server has it.
pub const TABLES: &str = "tables";

/// A group of a machine that the program brings along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupConfig {
    /// What clients call it.
    pub name: String,
    /// The machine, as [`ServerBuilder::machine`] names it, or [`TABLES`].
    pub machine: String,
    /// The nodes that replicate it. They are chosen once: a server refuses to start with others than its data has.
    pub nodes: Vec<u64>,
}

impl GroupConfig {
    /// What cannot be.
    pub(super) fn check(groups: &[GroupConfig], nodes: &BTreeSet<u64>) -> anyhow::Result<()> {
        let mut names = BTreeSet::from([CONTROLLER_NAME, MASTERS_NAME]);
        for GroupConfig { name, nodes: own, .. } in groups {
            ensure!(names.insert(name), "group {name}: the name is taken");
            ensure!(!own.is_empty(), "group {name} has no nodes");
            if let Some(stranger) = own.iter().find(|node| !nodes.contains(node)) {
                anyhow::bail!("group {name}: {stranger} is none of the nodes");
            }
        }
        Ok(())
    }

    /// The group's id: of its name alone, apart from the shard groups'.
    pub(super) fn id(&self) -> GroupId {
        group_id(&Gid::new(format!("machine/{}", self.name)))
    }

    pub(super) fn nodes(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().copied().map(NodeId).collect()
    }
}

/// A server, with the machines that a program brings along.
///
/// The complete example is `nodes/examples/counters.rs`.
pub struct ServerBuilder<'a> {
    config: &'a ServerConfig,
    machines: BTreeMap<String, Arc<dyn Kind>>,
    queries: Option<MakeQueries>,
}

/// Makes a server's coordinator of queries, if it is to have one.
pub(super) type MakeQueries = Box<dyn FnOnce(&ServerConfig) -> anyhow::Result<Option<Arc<dyn Queries>>> + Send>;

/// What a program brings along.
pub(super) struct Brought {
    pub(super) kinds: Kinds,
    pub(super) queries: Option<MakeQueries>,
}

impl std::fmt::Debug for ServerBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder").field("machines", &self.machines.keys()).finish_non_exhaustive()
    }
}

impl<'a> ServerBuilder<'a> {
    pub(super) fn new(config: &'a ServerConfig) -> Self {
        ServerBuilder { config, machines: BTreeMap::new(), queries: None }.machine(TABLES, KvMachine::default)
    }

    /// A machine that groups may be of; `make` makes a fresh one for each replica.
    pub fn machine<M: StateMachine>(mut self, name: &str, make: impl Fn() -> M + Send + Sync + 'static) -> Self {
        self.machines.insert(name.to_owned(), Arc::new(Maker { make, _machine: PhantomData }));
        self
    }

    /// A coordinator that carries out the statements of clients (`quorate ctl query`). It is made when the node's groups run, in its
    /// runtime; without one, such calls are refused.
    pub fn queries(
        mut self,
        make: impl FnOnce(&ServerConfig) -> anyhow::Result<Option<Arc<dyn Queries>>> + Send + 'static,
    ) -> Self {
        self.queries = Some(Box::new(make));
        self
    }

    /// Starts the node.
    ///
    /// # Errors
    /// As [`Server::start`]; when a group is of a machine that is not there.
    pub async fn start(self, start: Start) -> anyhow::Result<Server> {
        let kind = |group: &GroupConfig| {
            let kind = self.machines.get(&group.machine).cloned();
            let kind =
                kind.with_context(|| format!("group {}: this program has no machine {:?}", group.name, group.machine));
            Ok((group.clone(), kind?))
        };
        let groups = self.config.groups.iter().map(kind).collect::<anyhow::Result<Vec<_>>>()?;
        let brought = Brought { kinds: groups, queries: self.queries };
        Server::start_with(self.config, brought, start).await
    }
}

/// A kind of machine.
#[async_trait]
pub(super) trait Kind: Send + Sync {
    /// A group of it, with a replica on this node if it is to have one.
    async fn start(
        &self,
        group: &GroupConfig,
        host: &Arc<Host>,
        hosting: &Arc<Hosting>,
        compare_every: Duration,
    ) -> Result<Arc<dyn Hosted>, Fatal>;
}

struct Maker<F, M> {
    make: F,
    _machine: PhantomData<fn() -> M>,
}

#[async_trait]
impl<M: StateMachine, F: Fn() -> M + Send + Sync> Kind for Maker<F, M> {
    async fn start(
        &self,
        group: &GroupConfig,
        host: &Arc<Host>,
        hosting: &Arc<Hosting>,
        compare_every: Duration,
    ) -> Result<Arc<dyn Hosted>, Fatal> {
        let (id, nodes) = (group.id(), group.nodes());
        let served = Served::<M>::elsewhere(host.node(), host.remote(id, nodes.clone()));
        if nodes.contains(&host.node()) {
            let replica = hosting.start(id, (self.make)(), nodes).await?;
            hosting.env().spawn(Box::pin(compare_regularly(replica.clone(), compare_every)));
            served.is_here(replica);
        }
        Ok(Arc::new(served))
    }
}

/// Groups of a program's machines with their kinds.
pub(super) type Kinds = Vec<(GroupConfig, Arc<dyn Kind>)>;

/// Starts all of them.
///
/// # Errors
/// [`Fatal`] when a replica cannot start.
pub(super) async fn start_all(
    kinds: Kinds,
    host: &Arc<Host>,
    hosting: impl FnOnce() -> Arc<Hosting>,
    compare_every: Duration,
) -> Result<BTreeMap<String, Arc<dyn Hosted>>, Fatal> {
    let mut started = BTreeMap::new();
    if kinds.is_empty() {
        return Ok(started);
    }
    let hosting = hosting();
    for (group, kind) in kinds {
        started.insert(group.name.clone(), kind.start(&group, host, &hosting, compare_every).await?);
    }
    Ok(started)
}
