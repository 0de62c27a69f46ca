//! A host: one node's groups, and its way to other nodes.
//!
//! Promises: a message reaches the group it names, or is refused; messages of another cluster are dropped, and so is a
//! write that arrives again.
//! Leaves out: placement (which nodes replicate which group), which belongs to the user.

mod caller;
mod load;
mod peers;
mod recover;
mod remote;
mod take_over;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::engine::{Replica, ReplicaSpec, State};
use crate::env::Env;
use crate::error::{Fatal, Rejected};
use crate::group::{Group, GroupCore, GroupOptions};
use crate::log::LogStore;
use crate::machine::{StateMachine, Typed};
use crate::metrics::{self, HostMetrics};
use crate::planted::{self, Bug};
use crate::snapshot::SnapshotStore;
use crate::transport::{Answer, Envelope, Inbound, Once, Reply, Request, Transport};
use crate::types::{ClusterId, GroupId, Incarnation, NodeId};

pub(crate) use caller::Caller;
pub use load::HostLimits;
pub(crate) use load::{Load, Part};
pub(crate) use peers::Peers;
pub use recover::{Recovery, Remains};
pub use remote::RemoteGroup;
pub use take_over::{Evidence, TakeOver, TakeOverRefusal};

/// Who this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostConfig {
    /// The node, unique in its cluster and never reused for another process.
    pub node: NodeId,
    /// The cluster; messages of another one are dropped.
    pub cluster: ClusterId,
}

/// What a group needs to run on this node.
pub struct GroupSpec<M> {
    /// The group.
    pub id: GroupId,
    /// A fresh machine; it is restored from `snapshots` and `log` before the group serves.
    pub machine: M,
    /// This replica's log.
    pub log: Arc<dyn LogStore>,
    /// This replica's snapshots.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// How it runs.
    pub options: GroupOptions,
}

impl<M> fmt::Debug for GroupSpec<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupSpec").field("id", &self.id).field("options", &self.options).finish_non_exhaustive()
    }
}

/// What all groups of a node share.
#[derive(Clone)]
pub(crate) struct HostParts {
    pub(crate) peers: Arc<Peers>,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<HostMetrics>,
}

/// One node: its groups, and the receiving end of its transport.
pub struct Host {
    config: HostConfig,
    env: Arc<dyn Env>,
    parts: HostParts,
    groups: RwLock<BTreeMap<GroupId, Arc<GroupCore>>>,
    writes: Once,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Host {
    /// A node without groups, in a new life. The transport's receiving end is to be pointed at it.
    pub fn new(config: HostConfig, env: Arc<dyn Env>, transport: Arc<dyn Transport>) -> Arc<Host> {
        Self::with_limits(config, HostLimits::default(), env, transport)
    }

    /// The same, bounded by `limits`.
    pub fn with_limits(
        config: HostConfig,
        limits: HostLimits,
        env: Arc<dyn Env>,
        transport: Arc<dyn Transport>,
    ) -> Arc<Host> {
        let incarnation = Incarnation(env.random());
        let caller = Caller::new(config.node, config.cluster, incarnation, transport);
        let metrics = Arc::new(HostMetrics::new());
        let peers = Peers::new(Arc::clone(&env), caller, metrics.silences.clone());
        let load = Arc::new(Load::new(limits.inflight_bytes_max));
        let parts = HostParts { peers, load, metrics };
        Arc::new(Host { config, env, parts, groups: RwLock::default(), writes: Once::default() })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.config.node
    }

    /// Starts a replica of a group on this node, from what its stores hold.
    ///
    /// A new group is then made by [`Group::initialize`] on one of its nodes; a replica that joins an existing group
    /// waits to be added.
    ///
    /// # Errors
    /// [`Fatal`] when the stores cannot be read, the options contradict each other, or the group runs here already.
    pub async fn create_group<M: StateMachine>(&self, spec: GroupSpec<M>) -> Result<Group<M>, Fatal> {
        if self.group_core(spec.id).is_some() {
            return Err(Fatal(format!("{} runs on {} already", spec.id, self.config.node)));
        }
        let spec = self.replica_spec(spec);
        self.start_group(spec).await
    }

    fn replica_spec<M: StateMachine>(&self, spec: GroupSpec<M>) -> ReplicaSpec {
        ReplicaSpec {
            group: spec.id,
            node: self.config.node,
            state: State::new(Box::new(Typed(spec.machine)), spec.options.session_ttl),
            log: spec.log,
            snapshots: spec.snapshots,
            options: spec.options,
            env: Arc::clone(&self.env),
            caller: self.parts.peers.caller().clone(),
            silent_since: None,
            metrics: Arc::clone(&self.parts.metrics),
        }
    }

    /// Starts a replica and lets messages reach it; its machine is an `M`.
    async fn start_group<M: StateMachine>(&self, spec: ReplicaSpec) -> Result<Group<M>, Fatal> {
        let (id, options) = (spec.group, spec.options.clone());
        let replica = Replica::start(spec).await?;
        let env = Arc::clone(&self.env);
        let core = GroupCore::new(id, self.config.node, replica, self.parts.clone(), env, options);
        self.groups.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&core));
        Ok(Group::new(core))
    }

    /// Stops a group on this node. What its stores hold stays; it can be created again from them.
    pub async fn stop_group(&self, id: GroupId) {
        self.take_down(id).await;
    }

    async fn take_down(&self, id: GroupId) -> Option<Arc<GroupCore>> {
        let removed = self.groups.write().unwrap_or_else(PoisonError::into_inner).remove(&id)?;
        removed.shutdown().await;
        Some(removed)
    }

    /// Stops all groups of this node.
    pub async fn shutdown(&self) {
        let all = std::mem::take(&mut *self.groups.write().unwrap_or_else(PoisonError::into_inner));
        futures::future::join_all(all.values().map(|core| core.shutdown())).await;
    }

    /// The groups that run here.
    pub fn groups(&self) -> Vec<GroupId> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Sets the gauges of this node's groups, see [`crate::metrics`]: to be called when somebody looks at them.
    pub fn sample_metrics(&self) {
        metrics::sample_host(self.parts.load.bytes());
        let all = self.groups.read().unwrap_or_else(PoisonError::into_inner).clone();
        for core in all.values() {
            let replica = &core.replica;
            let (quiet, version) = (!core.rest.is_awake(), replica.version_in_force());
            metrics::sample(&replica.status(), replica.sessions(), quiet, version);
        }
    }

    fn group_core(&self, id: GroupId) -> Option<Arc<GroupCore>> {
        self.groups.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

#[async_trait::async_trait]
impl Inbound for Host {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        if envelope.cluster != self.config.cluster {
            tracing::warn!(from = %envelope.from, cluster = %envelope.cluster, "dropped a message of another cluster");
            return None;
        }
        // Everything else that is asked may be asked twice.
        let write = matches!(envelope.request, Request::Write(_));
        let is_repeated = write && !self.writes.let_in(envelope.from, envelope.incarnation, envelope.id);
        if is_repeated && !planted::is(Bug::DuplicateLetIn) {
            return None;
        }
        let reply = match self.group_core(envelope.group) {
            _ if matches!(envelope.request, Request::Ping) => Reply::Alive { life: self.parts.peers.life() },
            Some(core) => core.deliver(envelope.request).await,
            None => Reply::Refused(Rejected::NoSuchGroup(envelope.group)),
        };
        Some(Answer { incarnation: envelope.incarnation, id: envelope.id, reply })
    }
}
