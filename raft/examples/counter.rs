//! A complete service in one file: named counters, three replicas, a leader that dies.
//!
//! `cargo run --example counter -p quorate`

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use quorate::log::MemoryLog;
use quorate::sessions::Stamp;
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::MemoryNetwork;
use quorate::{
    ClientId, ClusterId, Consistency, EntryContext, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId,
    StateMachine, WriteOptions,
};
use serde::{Deserialize, Serialize};

/// The machine: counters by name. A persistent map, so that a snapshot is a clone of its root.
#[derive(Clone, Default)]
struct Counters(imbl::OrdMap<String, i64>);

/// What changes it.
#[derive(Serialize, Deserialize)]
enum Command {
    /// Adds to a counter.
    Add { name: String, amount: i64 },
}

/// What one may ask.
#[derive(Serialize, Deserialize)]
enum Query {
    /// A counter's value.
    Value { name: String },
}

impl StateMachine for Counters {
    type Command = Command;
    type Reply = i64;
    type Query = Query;
    type Answer = Option<i64>;

    // Deterministic: the state, the command, and nothing else.
    fn apply(&mut self, _entry: EntryContext, command: Command) -> i64 {
        let Command::Add { name, amount } = command;
        let value = self.0.get(&name).copied().unwrap_or(0).wrapping_add(amount);
        self.0.insert(name, value);
        value
    }

    fn query(&self, query: Query) -> Option<i64> {
        let Query::Value { name } = query;
        self.0.get(&name).copied()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let counters = self.0.clone();
        Records::view(move || counters.clone().into_iter())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.0 = read_records::<(String, i64)>(reader).collect::<io::Result<_>>()?;
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let env: Arc<dyn Env> = Arc::new(RealEnv);
    let network = MemoryNetwork::new(Arc::clone(&env), 1);
    let nodes = [1, 2, 3].map(NodeId);

    // One host a node, one replica of the group on each.
    let mut hosts = Vec::new();
    let mut replicas: Vec<Group<Counters>> = Vec::new();
    for node in nodes {
        let config = HostConfig { node, cluster: ClusterId(1) };
        let host = Host::new(config, Arc::clone(&env), network.transport(node));
        network.register(node, &host);
        let spec = GroupSpec {
            id: GroupId(1),
            machine: Counters::default(),
            log: Arc::new(MemoryLog::new()),
            snapshots: Arc::new(MemorySnapshots::new()),
            options: GroupOptions::default(),
        };
        replicas.push(host.create_group(spec).await?);
        hosts.push(host);
    }
    replicas[0].initialize(BTreeSet::from(nodes)).await?;

    // A session makes a retried command happen once; any node takes the call.
    let timeout = Duration::from_secs(5);
    let client = ClientId::new("example");
    replicas[1].open_session(client.clone(), timeout).await?;
    let add = Command::Add { name: "visits".into(), amount: 2 };
    let options = WriteOptions { session: Some(Stamp { client, seq: 1, acked: None }), timeout };
    let first = replicas[1].write(&add, options.clone()).await?;
    let again = replicas[2].write(&add, options).await?;
    println!("visits is {}; asked again: {} (replayed: {})", first.reply, again.reply, again.replayed);

    // Stop the leader: the others elect a new one, and the value is there.
    let leader = replicas[0].status().leadership.leader.ok_or_else(|| anyhow::anyhow!("no leader"))?;
    let (dead, alive) = (nodes.iter().position(|node| *node == leader), nodes.iter().position(|node| *node != leader));
    if let (Some(dead), Some(alive)) = (dead, alive) {
        network.stop(nodes[dead]);
        hosts[dead].shutdown().await;
        let query = Query::Value { name: "visits".into() };
        let read = replicas[alive].read(Consistency::Linearizable, &query, timeout).await?;
        println!("{leader} is stopped; {} answers {:?}", read.proof.served_by, read.answer);
        anyhow::ensure!(read.answer == Some(2), "an acknowledged write was lost");

        // A follower answers by itself if it can prove how old its state is at most.
        let bounded = Consistency::Bounded(Duration::from_millis(500));
        let read = replicas[alive].read(bounded, &query, timeout).await?;
        println!("{} answers {:?}, at most {:?} old", read.proof.served_by, read.answer, read.proof.staleness);
    }
    for host in &hosts {
        host.shutdown().await;
    }
    Ok(())
}

#[test]
fn the_example_runs_to_its_end() -> anyhow::Result<()> {
    main()
}
