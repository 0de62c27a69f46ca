//! A machine of one's own as a durable service: three nodes over gRPC, a client that counts once, a node that ends.
//!
//! `cargo run --example counters -p quorate-nodes`
//!
//! Here the three nodes share a process, so that there is something to see at once. A program that is one node of them parses
//! [`ServerFlags`](quorate_nodes::server::ServerFlags) and calls [`run_with`](quorate_nodes::server::run_with):
//!
//! ```ignore
//! server::run_with(&flags, |server| server.machine("counters", Counters::default)).await
//! ```

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::{Consistency, EntryContext, StateMachine};
use quorate_nodes::server::{ClientTls, GroupClient, GroupConfig, NodeAddress, Server, ServerConfig, Start};
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

/// Three nodes on free ports of this machine, with one group of counters on all of them. In a file it is
///
/// ```toml
/// [[groups]]
/// name = "visits"
/// machine = "counters"
/// nodes = [1, 2, 3]
/// ```
fn described() -> io::Result<ServerConfig> {
    let listeners: Vec<TcpListener> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let free: Vec<SocketAddr> = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let nodes = free.chunks(2).zip(1..);
    Ok(ServerConfig {
        cluster: 1,
        groups: vec![GroupConfig { name: "visits".into(), machine: "counters".into(), nodes: vec![1, 2, 3] }],
        nodes: nodes.map(|(at, id)| NodeAddress { id, peer: at[0], client: at[1], http: None }).collect(),
        ..ServerConfig::default()
    })
}

async fn start(config: &ServerConfig, node: u64, dir: &Path, start: Start) -> anyhow::Result<Server> {
    let data_dir = Some(dir.join(format!("n{node}")));
    let config = ServerConfig { node: Some(node), data_dir, ..config.clone() };
    Server::builder(&config).machine("counters", Counters::default).start(start).await
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = described()?;
    let mut servers = Vec::new();
    for node in 1..=3 {
        servers.push(start(&config, node, dir.path(), Start::New).await?);
    }

    let timeout = Duration::from_secs(30);
    let addresses = config.nodes.iter().map(|node| node.client.to_string());
    let client = GroupClient::<Counters>::new("visits", addresses, &ClientTls::default())?;
    let add = Command::Add { name: "front page".into(), amount: 2 };
    println!("the front page was seen {} times", client.write(&add, timeout).await?);

    // A node ends; the client goes on with the others.
    servers.remove(0).shutdown().await;
    println!("without a node: {} times", client.write(&add, timeout).await?);
    let query = Query::Value { name: "front page".into() };
    let (seen, proof) = client.read(Consistency::Bounded(Duration::from_secs(1)), &query, timeout).await?;
    println!("node {} says {seen:?}, at most {:?} ms old", proof.served_by, proof.staleness_ms);

    // It comes back to what it had.
    let _again = start(&config, 1, dir.path(), Start::Again).await?;
    let (seen, _) = client.read(Consistency::Linearizable, &query, timeout).await?;
    anyhow::ensure!(seen == Some(4), "a write was lost or doubled: {seen:?}");
    Ok(())
}

#[test]
fn the_example_runs_to_its_end() -> anyhow::Result<()> {
    main()
}
