//! Groups on disk: what was acknowledged is there after power was lost everywhere, and a disk that fails or is full stops
//! what it must and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate::fs::{CrashStyle, Fault, FaultyFs, Fs, Operation, RealFs, Rule, SimFs};
use quorate::log::{DiskLog, DiskLogOptions};
use quorate::snapshot::DiskSnapshots;
use quorate::transport::MemoryNetwork;
use quorate::{
    ClusterId, Consistency, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, Rejected, WriteError,
    WriteOptions,
};

use crate::common::{Answer, CALL, Command, Query, Register, World, claims, in_virtual_time};

claims!(
    every_acknowledged_write_is_there_after_power_was_lost_on_all_nodes,
    nodes_that_lose_power_one_by_one_under_writes_lose_nothing_acknowledged,
    a_disk_that_fails_stops_its_groups_and_the_others_go_on,
);

const GROUPS: u64 = 4;

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// A node's disk: simulated where time is, else a directory.
enum Disk {
    Simulated(SimFs),
    Real(tempfile::TempDir),
}

struct Life {
    host: Arc<Host>,
    log: Arc<DiskLog>,
    faults: FaultyFs,
    groups: BTreeMap<GroupId, Group<Register>>,
}

/// Three nodes with a disk each, and several groups on all of them.
struct Nodes {
    world: World,
    network: MemoryNetwork,
    options: GroupOptions,
    disks: BTreeMap<NodeId, Disk>,
    lives: BTreeMap<NodeId, Life>,
}

impl Nodes {
    /// A snapshot is taken when a log holds more than so many bytes.
    async fn start_all(world: &World, snapshot_log_bytes: u64) -> Nodes {
        let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
        let options = GroupOptions { snapshot_log_bytes, snapshot_keep_entries: 8, ..World::options() };
        let (disks, lives) = (BTreeMap::new(), BTreeMap::new());
        let mut nodes = Nodes { world: world.clone(), network, options, disks, lives };
        for id in NODES {
            let disk = match world.is_virtual {
                true => Disk::Simulated(SimFs::new()),
                false => Disk::Real(tempfile::tempdir().unwrap()),
            };
            nodes.disks.insert(id, disk);
            nodes.start(id).await;
        }
        for group in nodes.lives[&NODES[0]].groups.values() {
            group.initialize(NODES.into()).await.unwrap();
        }
        nodes
    }

    async fn start(&mut self, id: NodeId) {
        let env = &self.world.env;
        let (fs, dir): (Arc<dyn Fs>, PathBuf) = match &self.disks[&id] {
            Disk::Simulated(disk) => (Arc::new(disk.clone()), "/node".into()),
            Disk::Real(dir) => (Arc::new(RealFs), dir.path().join("node")),
        };
        let faults = FaultyFs::new(fs, Arc::clone(env));
        faults.add(Rule::new(Fault::Slow(Duration::from_millis(2))));
        let fs: Arc<dyn Fs> = Arc::new(faults.clone());
        let log_options = DiskLogOptions {
            segment_bytes: 16 << 10,
            queue_bytes: 4 << 10,
            cache_bytes: 4 << 10,
            reserve_bytes: 4 << 10,
            ..DiskLogOptions::default()
        };
        let log = DiskLog::open(Arc::clone(&fs), Arc::clone(env), &dir.join("log"), log_options).unwrap();
        let host =
            Host::new(HostConfig { node: id, cluster: ClusterId(1) }, Arc::clone(env), self.network.transport(id));
        self.network.register(id, &host);
        let mut groups = BTreeMap::new();
        for group in (0..GROUPS).map(GroupId) {
            let snapshots = self.snapshots(&fs, &dir, group);
            let spec = GroupSpec {
                id: group,
                machine: Register::default(),
                log: log.group(group),
                snapshots: Arc::new(snapshots),
                options: self.options.clone(),
            };
            groups.insert(group, host.create_group(spec).await.unwrap());
        }
        self.lives.insert(id, Life { host, log, faults, groups });
    }

    fn snapshots(&self, fs: &Arc<dyn Fs>, dir: &Path, group: GroupId) -> DiskSnapshots {
        DiskSnapshots::open(Arc::clone(fs), Arc::clone(&self.world.env), &dir.join("snapshots"), group).unwrap()
    }

    /// The power fails on a simulated node; on a real one, the process is stopped as far as a test can stop it.
    async fn lose_power(&mut self, id: NodeId) {
        self.network.stop(id);
        let Life { host, log, groups, .. } = self.lives.remove(&id).unwrap();
        if let Some(Disk::Simulated(disk)) = self.disks.get_mut(&id) {
            let style = if self.world.below(2) == 0 { CrashStyle::Prefix } else { CrashStyle::Scattered };
            *disk = disk.crash_as(self.world.below(u64::MAX), style);
        }
        host.shutdown().await;
        drop((host, groups));
        log.close().await;
    }

    fn group(&self, node: NodeId, group: u64) -> &Group<Register> {
        &self.lives[&node].groups[&GroupId(group)]
    }

    async fn push(&self, node: NodeId, group: u64, value: u64) -> Result<(), WriteError> {
        let options = WriteOptions { session: None, timeout: CALL };
        self.group(node, group).write(&Command::Push { value }, options).await.map(drop)
    }

    /// The list of a group, as each node reads it.
    async fn lists(&self, group: u64) -> Vec<Vec<u64>> {
        let mut lists = Vec::new();
        for node in self.lives.keys() {
            let read = self.group(*node, group).read(Consistency::LinearizableHere, &Query::Everything, CALL).await;
            let Answer::Everything { list, .. } = read.unwrap().answer else { panic!("the answer to another query") };
            lists.push(list);
        }
        lists
    }

    /// That every node's list of a group has all of these in this order.
    async fn hold(&self, group: u64, acknowledged: &[u64]) {
        for list in self.lists(group).await {
            let kept: Vec<_> = list.into_iter().filter(|value| acknowledged.contains(value)).collect();
            assert_eq!(kept, acknowledged, "{}", GroupId(group));
        }
    }
}

async fn every_acknowledged_write_is_there_after_power_was_lost_on_all_nodes(world: World) {
    let mut nodes = Nodes::start_all(&world, 2_000).await;
    let mut acknowledged = vec![Vec::new(); GROUPS as usize];
    for round in 0..4 {
        // The groups at the same time, each with writes through any node.
        let writes = (0..GROUPS).map(|group| {
            let (nodes, world) = (&nodes, world.fork());
            async move {
                let mut written = Vec::new();
                for value in round * 1000..round * 1000 + 30 {
                    if nodes.push(world.pick(&NODES), group, value).await.is_ok() {
                        written.push(value);
                    }
                }
                written
            }
        });
        let written = futures::future::join_all(writes).await;
        for (all, written) in acknowledged.iter_mut().zip(written) {
            assert!(written.len() > 20, "only {} writes went through", written.len());
            all.extend(written);
        }
        for id in NODES {
            nodes.lose_power(id).await;
        }
        for id in NODES {
            nodes.start(id).await;
        }
        for group in 0..GROUPS {
            nodes.hold(group, &acknowledged[group as usize]).await;
        }
    }
    let snapshots = nodes.lives.values().flat_map(|life| life.groups.values());
    assert!(snapshots.map(|group| group.status().snapshot).all(|at| at.is_some()), "snapshots took part");
}

async fn nodes_that_lose_power_one_by_one_under_writes_lose_nothing_acknowledged(world: World) {
    let mut nodes = Nodes::start_all(&world, 2_000).await;
    let mut acknowledged = Vec::new();
    for (round, id) in [1, 2, 3, 1, 2, 3].map(NodeId).into_iter().enumerate() {
        let others: Vec<_> = NODES.into_iter().filter(|node| *node != id).collect();
        for value in 0..25 {
            let value = round as u64 * 100 + value;
            let via = if nodes.lives.contains_key(&id) { world.pick(&NODES) } else { world.pick(&others) };
            if nodes.push(via, 1, value).await.is_ok() {
                acknowledged.push(value);
            }
            if value % 100 == 12 {
                nodes.lose_power(id).await;
            }
        }
        nodes.start(id).await;
    }
    assert!(acknowledged.len() > 80, "only {} writes went through", acknowledged.len());
    nodes.hold(1, &acknowledged).await;
}

async fn a_disk_that_fails_stops_its_groups_and_the_others_go_on(world: World) {
    let nodes = Nodes::start_all(&world, 2_000).await;
    nodes.push(NODES[0], 0, 1).await.unwrap();
    nodes.lives[&NODES[0]].faults.add(Rule::new(Fault::Io).on([Operation::Sync]));
    let others = &NODES[1..];
    let mut acknowledged = vec![1];
    for value in 2..40 {
        // What the failing leader had taken on is of unknown outcome.
        if nodes.push(world.pick(others), 0, value).await.is_ok() {
            acknowledged.push(value);
        }
    }
    assert!(acknowledged.len() > 20, "only {} writes went through", acknowledged.len());
    let stopped = || nodes.group(NODES[0], 0).status().leadership.stopped.is_some();
    world.eventually("the group has stopped on the node whose disk failed", stopped).await;
    for node in others {
        let read = nodes.group(*node, 0).read(Consistency::LinearizableHere, &Query::Everything, CALL).await.unwrap();
        let Answer::Everything { list, .. } = read.answer else { panic!("the answer to another query") };
        let kept: Vec<_> = list.into_iter().filter(|value| acknowledged.contains(value)).collect();
        assert_eq!(kept, acknowledged);
    }
}

/// Writes until one is refused for want of space.
async fn fill(nodes: &Nodes, group: u64) -> Vec<u64> {
    let mut written = Vec::new();
    for value in 1..100_000 {
        let command = Command::Fill { key: value, to: value, room: vec![7; 500] };
        let options = WriteOptions { session: None, timeout: CALL };
        match nodes.group(NODES[0], group).write(&command, options).await {
            Ok(_) => written.push(value),
            Err(WriteError::Rejected(Rejected::DiskFull(text))) => {
                assert!(text.contains("/node/log"), "{text}");
                return written;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the disks never became full");
}

#[test]
fn full_disks_refuse_writes_and_service_resumes_when_there_is_room() {
    in_virtual_time(|world| async move {
        let nodes = Nodes::start_all(&world, u64::MAX).await;
        let simulated = || {
            nodes.disks.values().map(|disk| match disk {
                Disk::Simulated(disk) => disk,
                Disk::Real(_) => unreachable!("time is virtual"),
            })
        };
        simulated().for_each(|disk| disk.set_capacity(Some(300_000)));
        let written = fill(&nodes, 2).await;
        assert!(written.len() > 20, "only {} writes went through", written.len());
        world.sleep(Duration::from_secs(3)).await;
        for node in NODES {
            for group in 0..GROUPS {
                let leadership = nodes.group(node, group).status().leadership;
                assert_eq!(leadership.stopped, None, "{node} {group}");
                assert!(leadership.leader.is_some(), "heartbeats and votes go on");
            }
        }
        simulated().for_each(|disk| disk.set_capacity(None));
        let command = Command::Fill { key: 0, to: 9, room: vec![] };
        let resumed = async {
            let options = || WriteOptions { session: None, timeout: CALL };
            while let Err(error) = nodes.group(NODES[0], 2).write(&command, options()).await {
                assert!(matches!(error, WriteError::Rejected(Rejected::DiskFull(_))), "{error}");
                world.sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), resumed).await.expect("service resumes");
        for node in NODES {
            let read = nodes.group(node, 2).read(Consistency::LinearizableHere, &Query::Everything, CALL).await;
            let Answer::Everything { values, .. } = read.unwrap().answer else { panic!("another query's answer") };
            assert!(written.iter().all(|value| values.get(value) == Some(value)), "{node}");
        }
    });
}
