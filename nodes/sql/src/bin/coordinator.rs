//! The binary `coordinator`: SQL over shards, each a replicated group.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::server::ClientTls;
use quorate_nodes::stdio::{StdioOptions, run};
use quorate_sql::service::{
    Coordinator, CoordinatorOptions, EngineArgs, OnServers, ScatterNode, ScatterNodeOptions, parse_peers,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    #[command(flatten)]
    engine: EngineArgs,

    #[command(flatten)]
    distributed: DistributedArgs,

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
    let Cli { stdio, engine, distributed, peers, servers, tls } = Cli::parse();
    let (engine, request_timeout) = (engine.options(), Duration::from_millis(stdio.request_timeout));
    match distributed.options(&stdio) {
        Some(distributed) => {
            let options = ScatterNodeOptions { group: None, peers, engine, request_timeout, distributed };
            run(&stdio, || Ok(ScatterNode::new(options)))
        }
        None => {
            let servers = (!servers.is_empty()).then_some(OnServers { addresses: servers, tls });
            let options = CoordinatorOptions { service: (&stdio).into(), engine, request_timeout, servers };
            run(&stdio, || Ok(Coordinator::new(options)))
        }
    }
}
