//! Nodes of one cluster, each with a server on a port of its own; their stores survive their lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::env::{Env, RealEnv};
use quorate::log::MemoryLog;
use quorate::snapshot::MemorySnapshots;
use quorate::transport::grpc::{GrpcConfig, GrpcLimits, GrpcServer, GrpcTransport, Tls};
use quorate::transport::{Inbound, Transport};
use quorate::types::Incarnation;
use quorate::{
    ClusterId, Consistency, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, Role, WriteOptions,
    Written,
};

use crate::machine::{Answer, Command, Query, Register};

/// How long a call that must succeed may take.
pub(crate) const CALL: Duration = Duration::from_secs(20);

pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// Wraps what a node hands messages to.
pub(crate) type Wrap = Arc<dyn Fn(NodeId, Arc<dyn Inbound>) -> Arc<dyn Inbound> + Send + Sync>;

/// What all nodes of a cluster have in common.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) options: GroupOptions,
    pub(crate) limits: GrpcLimits,
    pub(crate) groups: Vec<GroupId>,
    pub(crate) tls: Arc<dyn Fn(NodeId) -> Option<Tls> + Send + Sync>,
    pub(crate) inbound: Wrap,
}

impl Setting {
    /// Many groups, with heartbeats that a busy machine has the time for.
    pub(crate) fn of_groups(groups: &[GroupId]) -> Self {
        let options = GroupOptions {
            heartbeat: Duration::from_millis(400),
            election_timeout: (Duration::from_millis(1500), Duration::from_millis(3000)),
            ..GroupOptions::default()
        };
        Setting { options, groups: groups.to_vec(), ..Setting::default() }
    }
}

impl Default for Setting {
    fn default() -> Self {
        Setting {
            options: GroupOptions {
                // What a busy machine can keep.
                heartbeat: Duration::from_millis(50),
                election_timeout: (Duration::from_millis(200), Duration::from_millis(400)),
                lease_margin: Duration::from_millis(40),
                ..GroupOptions::default()
            },
            limits: GrpcLimits::default(),
            groups: vec![GROUP],
            tls: Arc::new(|_| None),
            inbound: Arc::new(|_, host| host),
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) setting: Setting,
    nodes: BTreeMap<NodeId, Node>,
}

struct Node {
    stores: BTreeMap<GroupId, (MemoryLog, MemorySnapshots)>,
    address: SocketAddr,
    life: Option<Life>,
}

pub(crate) struct Life {
    pub(crate) transport: Arc<GrpcTransport>,
    pub(crate) server: GrpcServer,
    pub(crate) host: Arc<Host>,
    pub(crate) groups: BTreeMap<GroupId, Group<Register>>,
}

pub(crate) fn config(node: NodeId, tls: Option<Tls>, limits: GrpcLimits) -> GrpcConfig {
    GrpcConfig { node, cluster: CLUSTER, incarnation: Incarnation(RealEnv.random()), tls, limits }
}

impl Cluster {
    /// `count` nodes that know each other; each group has a leader.
    pub(crate) async fn start(count: u64, setting: Setting) -> Self {
        let nodes: Vec<_> = (1..=count).map(NodeId).collect();
        let mut cluster = Cluster { setting, nodes: BTreeMap::new() };
        for node in &nodes {
            let stores = cluster.setting.groups.iter().map(|group| (*group, Default::default())).collect();
            let address = "127.0.0.1:0".parse().unwrap();
            cluster.nodes.insert(*node, Node { stores, address, life: None });
            cluster.start_node(*node).await;
        }
        for group in cluster.setting.groups.clone() {
            let first = &cluster.life(NodeId(1)).groups[&group];
            first.initialize(nodes.iter().copied().collect::<BTreeSet<_>>()).await.unwrap();
        }
        cluster.leader().await;
        cluster
    }

    /// Starts a node, new or on what its stores hold, where it listened before.
    pub(crate) async fn start_node(&mut self, id: NodeId) {
        let (tls, limits) = ((self.setting.tls)(id), self.setting.limits.clone());
        let transport = GrpcTransport::new(config(id, tls, limits));
        let host = Host::new(
            HostConfig { node: id, cluster: CLUSTER },
            Arc::new(RealEnv),
            Arc::clone(&transport) as Arc<dyn Transport>,
        );
        let inbound = (self.setting.inbound)(id, Arc::clone(&host) as Arc<dyn Inbound>);
        let server = GrpcServer::start(&transport, self.nodes[&id].address, inbound).await.unwrap();
        let mut groups = BTreeMap::new();
        for (group, (log, snapshots)) in &self.nodes[&id].stores {
            let spec = GroupSpec {
                id: *group,
                machine: Register::default(),
                log: Arc::new(log.clone()),
                snapshots: Arc::new(snapshots.clone()),
                options: self.setting.options.clone(),
            };
            groups.insert(*group, host.create_group(spec).await.unwrap());
        }
        for (other, node) in &self.nodes {
            if let Some(life) = &node.life {
                life.transport.add_peer(id, server.address().to_string());
                transport.add_peer(*other, life.server.address().to_string());
            } else if *other != id {
                transport.add_peer(*other, node.address.to_string());
            }
        }
        let node = self.nodes.get_mut(&id).unwrap();
        node.address = server.address();
        node.life = Some(Life { transport, server, host, groups });
    }

    /// Stops a node; its stores stay.
    pub(crate) async fn stop_node(&mut self, id: NodeId) {
        let life = self.nodes.get_mut(&id).unwrap().life.take().unwrap();
        // The network first: nothing of it is heard any more.
        life.server.shutdown().await;
        for other in life.transport.peers().into_keys() {
            life.transport.remove_peer(other);
        }
        life.host.shutdown().await;
    }

    /// Has a stopped node listen elsewhere when it is started again.
    pub(crate) fn forget_address(&mut self, id: NodeId) {
        self.nodes.get_mut(&id).unwrap().address = "127.0.0.1:0".parse().unwrap();
    }

    pub(crate) fn life(&self, id: NodeId) -> &Life {
        self.nodes[&id].life.as_ref().expect("the node runs")
    }

    pub(crate) fn group(&self, id: NodeId) -> &Group<Register> {
        &self.life(id).groups[&GROUP]
    }

    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|(_, node)| node.life.is_some()).map(|(id, _)| *id).collect()
    }

    /// The node that leads the first group, as those that run agree; all other groups have one too.
    pub(crate) async fn leader(&self) -> NodeId {
        let mut leader = None;
        eventually("every group has a leader", || {
            self.setting.groups.iter().all(|group| {
                let seen: BTreeSet<_> = self
                    .running()
                    .iter()
                    .map(|node| self.life(*node).groups[group].status().leadership)
                    .map(|leadership| (leadership.term, leadership.leader))
                    .collect();
                let agreed = (seen.len() == 1).then(|| seen.first().and_then(|(_, leader)| *leader)).flatten();
                let leads = agreed.filter(|id| {
                    let life = self.nodes[id].life.as_ref();
                    life.is_some_and(|life| life.groups[group].status().leadership.role == Role::Leader)
                });
                if *group == self.setting.groups[0] {
                    leader = leads;
                }
                leads.is_some()
            })
        })
        .await;
        leader.expect("just seen")
    }

    /// The running nodes but the leader of the first group.
    pub(crate) async fn followers(&self) -> Vec<NodeId> {
        let leader = self.leader().await;
        self.running().into_iter().filter(|node| *node != leader).collect()
    }

    /// A write that must succeed.
    pub(crate) async fn write(&self, via: NodeId, group: GroupId, command: Command) -> Written<u64> {
        let options = WriteOptions { session: None, timeout: CALL };
        self.life(via).groups[&group].write(&command, options).await.unwrap()
    }

    pub(crate) async fn value(&self, via: NodeId, group: GroupId, key: u64) -> u64 {
        let group = &self.life(via).groups[&group];
        let read = group.read(Consistency::Linearizable, &Query::Value(key), CALL).await.unwrap();
        let Answer::Value(value) = read.answer else { panic!("the answer to another query") };
        value
    }

    /// Waits until every node is connected to every other one that runs.
    pub(crate) async fn connected(&self) {
        let running = self.running();
        eventually("all nodes are connected", || {
            running.iter().all(|node| {
                let peers = self.life(*node).transport.peers();
                running.iter().filter(|other| *other != node).all(|other| peers[other].connected)
            })
        })
        .await;
    }

    pub(crate) async fn shutdown(mut self) {
        for node in self.running() {
            self.stop_node(node).await;
        }
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "it never came true that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
