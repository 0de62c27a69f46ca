//! Three replicas of the library.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use quorate::log::MemoryLog;
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::MemoryNetwork;
use quorate::{
    ClusterId, Consistency, EntryContext, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, StateMachine,
    WriteOptions,
};

use super::measure::{Operation, during};

const TIMEOUT: Duration = Duration::from_secs(30);
const BOUND: Duration = Duration::from_millis(100);

/// A sum.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sum(u64);

impl StateMachine for Sum {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: EntryContext, amount: u64) -> u64 {
        self.0 = self.0.wrapping_add(amount);
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let sum = self.0;
        Records::view(move || std::iter::once(sum))
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        for sum in read_records(reader) {
            self.0 = sum?;
        }
        Ok(())
    }
}

type Handle = quorate::Group<Sum>;

pub(crate) struct Group {
    network: MemoryNetwork,
    hosts: Vec<Arc<Host>>,
    replicas: Vec<Handle>,
}

impl Group {
    /// Ready when the first node leads.
    pub(crate) async fn start() -> Group {
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let network = MemoryNetwork::new(Arc::clone(&env), 1);
        let nodes = [1, 2, 3].map(NodeId);
        let (mut hosts, mut replicas) = (Vec::new(), Vec::new());
        for node in nodes {
            let host = Host::new(HostConfig { node, cluster: ClusterId(1) }, Arc::clone(&env), network.transport(node));
            network.register(node, &host);
            let options = GroupOptions {
                // As the bare group: a busy machine is not to hold elections.
                election_timeout: (Duration::from_millis(1000), Duration::from_millis(2000)),
                heartbeat: Duration::from_millis(100),
                ..GroupOptions::default()
            };
            let log = Arc::new(MemoryLog::new());
            let snapshots = Arc::new(MemorySnapshots::new());
            let spec = GroupSpec { id: GroupId(1), machine: Sum::default(), log, snapshots, options };
            replicas.push(host.create_group(spec).await.unwrap());
            hosts.push(host);
        }
        replicas[0].initialize(BTreeSet::from(nodes)).await.unwrap();
        replicas[0].watch().wait_for(|now| now.leader == Some(nodes[0])).await.unwrap();
        Group { network, hosts, replicas }
    }

    pub(crate) async fn stop(self) {
        for host in self.hosts {
            host.shutdown().await;
        }
    }

    /// Messages that the replicas have sent to each other.
    pub(crate) fn messages(&self) -> u64 {
        self.network.traffic().messages()
    }

    pub(crate) fn writer(&self) -> Writer {
        Writer(self.replicas[0].clone())
    }

    pub(crate) fn linearizable_reader(&self) -> Reader {
        let shares = Arc::default();
        Reader { replica: self.replicas[0].clone(), consistency: Consistency::Linearizable, shares }
    }

    pub(crate) fn bounded_reader(&self) -> Reader {
        let shares = Arc::default();
        Reader { replica: self.replicas[1].clone(), consistency: Consistency::Bounded(BOUND), shares }
    }

    /// The share of a follower's bounded reads that it answered itself while 64 clients write.
    pub(crate) async fn bounded_beside_a_writer(&self, time: Duration, clients: usize) -> f64 {
        let reader = self.bounded_reader();
        let shares = Arc::clone(&reader.shares);
        futures::future::join(during(time, 64, self.writer()), during(time, clients, reader)).await;
        let (here, all) = (shares.0.load(Ordering::Relaxed), shares.1.load(Ordering::Relaxed));
        here as f64 / all.max(1) as f64
    }
}

#[derive(Clone)]
pub(crate) struct Writer(Handle);

impl Operation for Writer {
    async fn run(&self) {
        self.0.write(&1, WriteOptions { session: None, timeout: TIMEOUT }).await.unwrap();
    }
}

#[derive(Clone)]
pub(crate) struct Reader {
    replica: Handle,
    consistency: Consistency,
    /// Answered by the replica asked, and all.
    shares: Arc<(AtomicU64, AtomicU64)>,
}

impl Operation for Reader {
    async fn run(&self) {
        let reply = self.replica.read(self.consistency, &(), TIMEOUT).await.unwrap();
        if reply.proof.served_by == self.replica.node() {
            self.shares.0.fetch_add(1, Ordering::Relaxed);
        }
        // A read without a wait would never let the others of its thread run.
        if self.shares.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(16) {
            tokio::task::yield_now().await;
        }
    }
}
