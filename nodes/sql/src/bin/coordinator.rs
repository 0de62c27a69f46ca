//! The binary `coordinator`: SQL over shards, each a replicated group.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::server::ClientTls;
use quorate_nodes::stdio::run;
use quorate_sql::service::{Coordinator, CoordinatorOptions, OnServers, ScatterArgs, ScatterNode, parse_peers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    scatter: ScatterArgs,

    /// With --distributed: a shard, and the nodes that are its replicas. May be said several times; a shard of which nothing is
    /// said is the node of its name. A process whose node is named here is that shard's replica, like the binary shard.
    #[arg(long, value_name = "SHARD=NODE,...", value_parser = parse_peers, requires = "distributed")]
    peers: Vec<(String, Vec<String>)>,

    /// The shards are on servers of a cluster (`host:port` of clients, separated by commas): groups of the machine `tables` with
    /// the names that `init` gives. Without it they are in this process.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["data_dir", "allow_faults", "distributed"])]
    servers: Vec<String>,

    #[command(flatten)]
    tls: ClientTls,
}

fn main() -> ExitCode {
    let Cli { scatter, peers, servers, tls } = Cli::parse();
    let stdio = &scatter.stdio;
    match scatter.node(None, peers) {
        Some(options) => run(stdio, || Ok(ScatterNode::new(options))),
        None => {
            let options = CoordinatorOptions {
                service: stdio.into(),
                engine: scatter.engine.options(),
                request_timeout: scatter.request_timeout(),
                servers: (!servers.is_empty()).then_some(OnServers { addresses: servers, tls }),
            };
            run(stdio, || Ok(Coordinator::new(options)))
        }
    }
}
