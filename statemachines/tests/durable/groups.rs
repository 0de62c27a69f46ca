//! Groups of three replicas, each on a disk of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use quorate::log::MemoryLog;
use quorate::snapshot::MemorySnapshots;
use quorate::transport::MemoryNetwork;
use quorate::{ClusterId, Consistency, Group, GroupOptions, GroupSpec, Host, HostConfig, NodeId, WriteOptions};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{
    KvAnswer, KvCommand, KvDatabase, KvDatabaseOptions, KvMachine, KvQuery, Scan, StoreError,
};
use tempfile::TempDir;

use crate::common::{GROUP, NODES, TTL, config, put, small};

/// How long a call that must succeed may take.
const CALL: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    network: MemoryNetwork,
    env: Arc<dyn Env>,
    nodes: Vec<Node>,
    options: GroupOptions,
    /// How its replicas use their disks, unless they are in memory.
    disks: Option<KvDatabaseOptions>,
}

struct Node {
    id: NodeId,
    dir: TempDir,
    log: MemoryLog,
    life: Option<(Arc<Host>, Group<KvMachine>)>,
}

pub(crate) fn options() -> GroupOptions {
    GroupOptions {
        heartbeat: Duration::from_millis(50),
        election_timeout: (Duration::from_millis(300), Duration::from_millis(600)),
        lease_margin: Duration::from_millis(30),
        ..GroupOptions::default()
    }
}

impl Cluster {
    pub(crate) async fn new(options: GroupOptions, disks: Option<KvDatabaseOptions>) -> Self {
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let node = |id| Node { id, dir: tempfile::tempdir().unwrap(), log: MemoryLog::new(), life: None };
        let network = MemoryNetwork::new(Arc::clone(&env), 1);
        let mut cluster = Cluster { network, env, nodes: NODES.map(node).into(), options, disks };
        for node in 0..3 {
            cluster.start(node).await;
        }
        cluster.group(0).initialize(NODES.into()).await.unwrap();
        cluster.write(0, config(1, &[0])).await;
        cluster
    }

    pub(crate) async fn start(&mut self, node: usize) {
        let Node { id, dir, log, .. } = &self.nodes[node];
        let machine = match &self.disks {
            Some(options) => KvMachine::open(&opened(dir.path(), options).await, GROUP, TTL).unwrap(),
            None => KvMachine::new(TTL),
        };
        let host = Host::new(
            HostConfig { node: *id, cluster: ClusterId(1) },
            Arc::clone(&self.env),
            self.network.transport(*id),
        );
        self.network.register(*id, &host);
        let spec = GroupSpec {
            id: GROUP,
            machine,
            log: Arc::new(log.clone()),
            // Of no use to a machine on a disk: each life has a new one.
            snapshots: Arc::new(MemorySnapshots::new()),
            options: self.options.clone(),
        };
        let group = host.create_group(spec).await.unwrap();
        self.nodes[node].life = Some((host, group));
    }

    /// Ends a node's life; its log and its directory stay.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.network.stop(self.nodes[node].id);
        if let Some((host, _)) = self.nodes[node].life.take() {
            host.shutdown().await;
        }
    }

    pub(crate) fn group(&self, node: usize) -> Group<KvMachine> {
        self.nodes[node].life.as_ref().unwrap().1.clone()
    }

    pub(crate) async fn write(&self, via: usize, command: KvCommand) {
        let options = WriteOptions { session: None, timeout: CALL };
        // Between two leaders it may be refused, and none of these does harm twice.
        while let Err(error) = self.group(via).write(&command, options.clone()).await {
            assert!(!matches!(error, quorate::WriteError::Fatal(_)), "{error}");
        }
    }

    pub(crate) async fn fill(&self, via: usize, keys: std::ops::Range<u64>, size: usize) {
        for chunk in keys.collect::<Vec<_>>().chunks(100) {
            let writes = chunk.iter().map(|key| (None, filled(*key, size)));
            match self.group(via).write_many(writes.collect::<Vec<_>>(), CALL).await {
                Ok(written) if written.iter().all(Result::is_ok) => {}
                _ => {
                    for key in chunk {
                        self.write(via, filled(*key, size)).await;
                    }
                }
            }
        }
    }

    /// All keys of the shard, by a linearizable read at this node, page by page.
    async fn scan(&self, node: usize) -> Vec<(Arc<str>, String)> {
        let mut found: Vec<(Arc<str>, String)> = Vec::new();
        loop {
            let from = found.last().map(|(key, _)| Arc::from(format!("{key}\0")));
            let scan = KvQuery::Scan(Scan { shard: ShardId(0), from, ..Default::default() });
            let Ok(reply) = self.group(node).read(Consistency::LinearizableHere, &scan, CALL).await else { continue };
            let KvAnswer::Items { items, more } = reply.answer else { panic!("{:?}", reply.answer) };
            found.extend(items.into_iter().map(|(key, value)| (key, value.to_string())));
            if !more {
                return found;
            }
        }
    }

    async fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = self.env.now() + Duration::from_secs(120);
        while !condition() {
            assert!(self.env.now() < deadline, "it never came true that {what}");
            self.env.sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The database of an earlier life is closed once the last of its tasks has ended.
async fn opened(dir: &Path, options: &KvDatabaseOptions) -> KvDatabase {
    let mut tries = 0..2_000;
    loop {
        match KvDatabase::open(dir, options.clone()) {
            Ok(database) => return database,
            Err(StoreError::Locked(_)) if tries.next().is_some() => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn name(key: u64) -> String {
    format!("key {key:08}")
}

fn filled(key: u64, size: usize) -> KvCommand {
    put(0, &name(key), &format!("{key}{}", "x".repeat(size)))
}

fn expected(keys: std::ops::Range<u64>, size: usize) -> Vec<(Arc<str>, String)> {
    keys.map(|key| (name(key).into(), format!("\"{key}{}\"", "x".repeat(size)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_find_all_data_after_restarts_though_their_logs_are_purged() {
    let bounded = GroupOptions { snapshot_log_bytes: 60_000, snapshot_keep_entries: 8, ..options() };
    let mut cluster = Cluster::new(bounded, Some(small())).await;
    for round in 0..3 {
        cluster.fill(0, round * 1_000..(round + 1) * 1_000, 200).await;
        for node in 0..3 {
            let group = cluster.group(node);
            cluster.eventually("the log is purged", || group.status().purged.is_some()).await;
        }
        for node in 0..3 {
            cluster.stop(node).await;
        }
        for node in 0..3 {
            cluster.start(node).await;
        }
        for node in 0..3 {
            assert_eq!(cluster.scan(node).await, expected(0..(round + 1) * 1_000, 200), "node {node}, restart {round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_far_behind_catches_up_by_a_streamed_snapshot_and_keeps_it() {
    let bounded = GroupOptions { snapshot_log_bytes: 60_000, snapshot_keep_entries: 8, ..options() };
    let mut cluster = Cluster::new(bounded, Some(small())).await;
    cluster.fill(0, 0..100, 500).await;
    cluster.stop(2).await;
    // Many times what is kept in memory.
    cluster.fill(0, 100..6_000, 500).await;
    for node in 0..2 {
        let group = cluster.group(node);
        cluster.eventually("the log is purged", || group.status().purged.is_some()).await;
    }
    cluster.start(2).await;
    assert_eq!(cluster.scan(2).await, expected(0..6_000, 500));
    cluster.stop(2).await;
    cluster.start(2).await;
    assert_eq!(cluster.scan(2).await, expected(0..6_000, 500));
}
