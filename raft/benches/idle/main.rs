//! What groups cost that nobody uses, in one run on one runtime: `cargo bench -p quorate --bench idle`.
//!
//! Three nodes in this process, logs in memory, the default timeouts, no client. First fewer groups that may not fall quiet,
//! which tick and send heartbeats; then many that may. Times are this machine's; the ratio is the result.

#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::env::{Env, RealEnv};
use quorate::log::MemoryLog;
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::MemoryNetwork;
use quorate::{
    ClusterId, EntryContext, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, StateMachine,
};
use rustix::time::{ClockId, clock_gettime};

/// So many groups are started at once: more would be late for their own heartbeats.
const BATCH: u64 = 20;

/// How much is measured.
struct Effort {
    ticking: u64,
    quiet: u64,
    time: Duration,
}

fn main() {
    // Without `--bench` this is a test run: only show that everything works.
    let effort = if std::env::args().any(|argument| argument == "--bench") {
        Effort { ticking: 100, quiet: 1000, time: Duration::from_secs(10) }
    } else {
        Effort { ticking: 2, quiet: 4, time: Duration::from_millis(100) }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::spawn(measure(effort)).await.unwrap() });
}

async fn measure(effort: Effort) {
    println!("groups of three replicas, {:?} each", effort.time);
    let awake = Cluster::start(effort.ticking, None).await;
    let ticking = awake.cost(effort.time).await;
    println!("ticking  {:>5} groups  {ticking}", effort.ticking);
    awake.stop().await;

    let before = resident_bytes();
    let asleep = Cluster::start(effort.quiet, Some(Duration::from_millis(500))).await;
    let taken = resident_bytes().saturating_sub(before);
    let quiet = asleep.cost(effort.time).await;
    println!("quiet    {:>5} groups  {quiet}", effort.quiet);
    println!("memory   {:>7.1} KiB a replica", taken as f64 / 1024.0 / (effort.quiet * 3) as f64);
    let scaled = ticking.cpu * effort.quiet as f64 / effort.ticking as f64;
    println!(
        "as many ticking groups would take {:.1}% of a core: {:.0} times as much",
        scaled * 100.0,
        scaled / quiet.cpu
    );
    asleep.stop().await;
}

/// What a second costs.
struct Cost {
    /// Of a core.
    cpu: f64,
    messages: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7.2}% of a core  {:>8.0} messages/s", self.cpu * 100.0, self.messages)
    }
}

/// Three hosts and their groups.
struct Cluster {
    network: MemoryNetwork,
    hosts: Vec<Arc<Host>>,
    replicas: Vec<Group<Nothing>>,
}

impl Cluster {
    /// Ready when every group has a leader, and sleeps if it may.
    async fn start(groups: u64, quiesce_after: Option<Duration>) -> Cluster {
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let network = MemoryNetwork::new(Arc::clone(&env), 1);
        let host = |node| {
            let host = Host::new(HostConfig { node, cluster: ClusterId(1) }, Arc::clone(&env), network.transport(node));
            network.register(node, &host);
            host
        };
        let hosts: Vec<_> = [1, 2, 3].map(NodeId).into_iter().map(host).collect();
        let mut cluster = Cluster { network, hosts, replicas: Vec::new() };
        for id in 0..groups {
            cluster.add(GroupId(id), &GroupOptions { quiesce_after, ..GroupOptions::default() }).await;
            if id % BATCH == BATCH - 1 || id == groups - 1 {
                cluster.settle(quiesce_after.is_some()).await;
            }
        }
        cluster
    }

    async fn add(&mut self, id: GroupId, options: &GroupOptions) {
        let nodes: BTreeSet<_> = self.hosts.iter().map(|host| host.node()).collect();
        let mut replicas = Vec::new();
        for host in &self.hosts {
            let (log, snapshots) = (Arc::new(MemoryLog::new()), Arc::new(MemorySnapshots::new()));
            let spec = GroupSpec { id, machine: Nothing, log, snapshots, options: options.clone() };
            replicas.push(host.create_group(spec).await.unwrap());
        }
        replicas[id.0 as usize % 3].initialize(nodes).await.unwrap();
        self.replicas.extend(replicas);
    }

    async fn settle(&self, quiet: bool) {
        let settled = |replica: &Group<Nothing>| match quiet {
            true => replica.is_quiet(),
            false => replica.watch().borrow().leader.is_some(),
        };
        while !self.replicas.iter().all(settled) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn cost(&self, time: Duration) -> Cost {
        let (began, cpu, sent) = (Instant::now(), cpu_time(), self.network.traffic().messages());
        tokio::time::sleep(time).await;
        let (took, cpu, sent) =
            (began.elapsed().as_secs_f64(), cpu_time() - cpu, self.network.traffic().messages() - sent);
        Cost { cpu: cpu.as_secs_f64() / took, messages: sent as f64 / took }
    }

    async fn stop(self) {
        for host in self.hosts {
            host.shutdown().await;
        }
    }
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The memory that this process has in use.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// A machine without a state.
struct Nothing;

impl StateMachine for Nothing {
    type Command = ();
    type Reply = ();
    type Query = ();
    type Answer = ();

    fn apply(&mut self, _: EntryContext, (): ()) {}

    fn query(&self, (): ()) {}

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        Records::view(std::iter::empty::<()>)
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        read_records::<()>(reader).collect()
    }
}
