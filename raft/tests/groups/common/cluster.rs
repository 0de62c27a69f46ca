//! Nodes of one cluster: their stores survive their lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::log::MemoryLog;
use quorate::snapshot::{MemorySnapshots, SnapshotStore};
use quorate::transport::MemoryNetwork;
use quorate::{
    ClusterId, Consistency, Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, ReadError,
    ReadReply, Role, WriteError, WriteOptions, Written,
};

use super::{Answer, Command, Disk, Query, Register, World};

/// How long a call that must succeed may take.
pub(crate) const CALL: Duration = Duration::from_secs(20);

/// The group that every cluster has.
pub(crate) const GROUP: GroupId = GroupId(1);

/// Nodes, running or not, in one network.
pub(crate) struct Cluster {
    pub(crate) world: World,
    pub(crate) network: MemoryNetwork,
    pub(crate) options: GroupOptions,
    /// Whether nodes persist their machine themselves from their next start on.
    pub(crate) durable: AtomicBool,
    nodes: Mutex<BTreeMap<NodeId, Node>>,
}

#[derive(Clone, Default)]
struct Node {
    log: MemoryLog,
    snapshots: MemorySnapshots,
    disk: Disk,
    life: Option<(Arc<Host>, Group<Register>)>,
}

impl Cluster {
    pub(crate) fn new(world: &World, options: GroupOptions) -> Self {
        let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
        Cluster { world: world.clone(), network, options, durable: AtomicBool::new(false), nodes: Mutex::default() }
    }

    /// Starts a node, new or on what its stores hold.
    pub(crate) async fn start(&self, id: NodeId) -> Group<Register> {
        self.try_start(id).await.unwrap()
    }

    /// The same, where the stores may be such that it cannot.
    pub(crate) async fn try_start(&self, id: NodeId) -> Result<Group<Register>, Fatal> {
        let (network, env) = (&self.network, &self.world.env);
        let node = self.nodes().entry(id).or_default().clone();
        assert!(node.life.is_none(), "{id} runs already");
        let config = HostConfig { node: id, cluster: ClusterId(1) };
        let host = Host::new(config, Arc::clone(env), network.transport(id));
        network.register(id, &host);
        let group = host.create_group(self.spec(id)).await?;
        self.nodes().entry(id).or_default().life = Some((host, group.clone()));
        Ok(group)
    }

    /// What a node's replica is made of.
    pub(crate) fn spec(&self, id: NodeId) -> GroupSpec<Register> {
        let node = self.nodes()[&id].clone();
        GroupSpec {
            id: GROUP,
            machine: if self.durable.load(Ordering::Relaxed) { node.disk.open() } else { Register::default() },
            log: Arc::new(node.log),
            snapshots: Arc::new(node.snapshots),
            options: self.options.clone(),
        }
    }

    pub(crate) fn disk(&self, id: NodeId) -> Disk {
        self.nodes()[&id].disk.clone()
    }

    /// Whether the node's store of snapshots holds one.
    pub(crate) async fn has_snapshot_stored(&self, id: NodeId) -> bool {
        let snapshots = self.nodes()[&id].snapshots.clone();
        snapshots.latest().await.unwrap().is_some()
    }

    /// Stops a node; its stores stay.
    pub(crate) async fn stop(&self, id: NodeId) {
        self.network.stop(id);
        let life = self.nodes().get_mut(&id).and_then(|node| node.life.take());
        if let Some((host, _)) = life {
            host.shutdown().await;
        }
    }

    /// Makes the nodes that run one group.
    pub(crate) async fn initialize(&self) {
        let nodes = self.running();
        self.group(nodes[0]).initialize(nodes.iter().copied().collect()).await.unwrap();
        self.leader().await;
    }

    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes().iter().filter(|(_, node)| node.life.is_some()).map(|(id, _)| *id).collect()
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Node>> {
        self.nodes.lock().unwrap()
    }

    fn life(&self, id: NodeId) -> (Arc<Host>, Group<Register>) {
        self.nodes()[&id].life.clone().expect("the node runs")
    }

    pub(crate) fn group(&self, id: NodeId) -> Group<Register> {
        self.life(id).1
    }

    pub(crate) fn host(&self, id: NodeId) -> Arc<Host> {
        self.life(id).0
    }

    /// The node that leads, agreed on by a majority of those that run.
    pub(crate) async fn leader(&self) -> NodeId {
        self.leader_among(&self.running()).await
    }

    /// The node of `nodes` that leads, agreed on by all of them.
    pub(crate) async fn leader_among(&self, nodes: &[NodeId]) -> NodeId {
        let mut leader = None;
        self.world
            .eventually("these nodes agree on a leader among them", || {
                let seen: BTreeSet<_> = nodes
                    .iter()
                    .map(|node| self.group(*node).status().leadership)
                    .map(|leadership| (leadership.term, leadership.leader))
                    .collect();
                leader = seen.first().and_then(|(_, leader)| *leader).filter(|leader| nodes.contains(leader));
                let leads = leader.is_some_and(|id| self.group(id).status().leadership.role == Role::Leader);
                seen.len() == 1 && leads
            })
            .await;
        leader.expect("just seen")
    }

    /// The handle of a node, if it runs.
    pub(crate) fn group_if_running(&self, id: NodeId) -> Option<Group<Register>> {
        self.nodes().get(&id)?.life.as_ref().map(|(_, group)| group.clone())
    }

    /// Some running node that does not lead.
    pub(crate) async fn follower(&self) -> NodeId {
        let leader = self.leader().await;
        self.others(leader)[0]
    }

    /// The running nodes but this one.
    pub(crate) fn others(&self, than: NodeId) -> Vec<NodeId> {
        self.running().into_iter().filter(|node| *node != than).collect()
    }

    /// Cuts `node` off from the others, which then have a leader among them.
    pub(crate) async fn depose(&self, node: NodeId) -> NodeId {
        self.network.isolate(node);
        self.leader_among(&self.others(node)).await
    }

    pub(crate) async fn write(
        &self,
        via: NodeId,
        command: Command,
        timeout: Duration,
    ) -> Result<Written<u64>, WriteError> {
        self.group(via).write(&command, WriteOptions { session: None, timeout }).await
    }

    /// A write that must succeed.
    pub(crate) async fn raise(&self, via: NodeId, key: u64, to: u64) -> Written<u64> {
        self.write(via, Command::Raise { key, to }, CALL).await.unwrap()
    }

    pub(crate) async fn read(
        &self,
        via: NodeId,
        consistency: Consistency,
        key: u64,
        timeout: Duration,
    ) -> Result<ReadReply<u64>, ReadError> {
        let reply = self.group(via).read(consistency, &Query::Value(key), timeout).await?;
        let Answer::Value(value) = reply.answer else { panic!("the answer to another query") };
        Ok(ReadReply { answer: value, proof: reply.proof })
    }

    /// All that a replica holds, as it is.
    pub(crate) async fn everything(&self, at: NodeId) -> (BTreeMap<u64, u64>, Vec<u64>) {
        let reply = self.group(at).read(Consistency::Local, &Query::Everything, CALL).await.unwrap();
        let Answer::Everything { values, list } = reply.answer else { panic!("the answer to another query") };
        (values, list)
    }

    /// Waits until all running replicas have applied all that the leader has committed, checks that they hold the same,
    /// and gives it.
    pub(crate) async fn converge(&self) -> (BTreeMap<u64, u64>, Vec<u64>) {
        let at = loop {
            let via = self.leader().await;
            if let Ok(written) = self.write(via, Command::Add { key: u64::MAX, amount: 1 }, CALL).await {
                break written.at.index;
            }
        };
        let nodes = self.running();
        for node in &nodes {
            assert!(self.group(*node).wait_applied(at, CALL).await, "{node} does not catch up to {at}");
        }
        let first = self.everything(nodes[0]).await;
        for node in &nodes[1..] {
            assert_eq!(self.everything(*node).await, first, "{node} and {} hold different states", nodes[0]);
        }
        first
    }

    /// Nothing goes wrong any more; stopped nodes start.
    pub(crate) async fn calm(&self) {
        self.network.heal_all();
        self.network.clear_faults();
        let nodes: Vec<_> = self.nodes().iter().map(|(id, node)| (*id, node.life.is_some())).collect();
        for (node, runs) in nodes {
            self.network.resume(node);
            if !runs {
                self.start(node).await;
            }
        }
    }
}
