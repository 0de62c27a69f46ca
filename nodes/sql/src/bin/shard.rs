//! The binary `shard`: one replica of one shard of a coordinator that is another process.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::stdio::{StdioOptions, run};
use quorate_sql::service::{EngineArgs, ScatterNode, ScatterNodeOptions, parse_peers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    #[command(flatten)]
    engine: EngineArgs,

    /// A shard is always one node among others: --distributed may be said, and changes nothing.
    #[command(flatten)]
    distributed: DistributedArgs,

    /// The shard that this process has a replica of.
    #[arg(long, value_name = "SHARD")]
    group: String,

    /// A shard, and the nodes that are its replicas; those of other shards do not matter here. Without its own, its replicas
    /// are the nodes that `init` names, or this one alone.
    #[arg(long, value_name = "SHARD=NODE,...", value_parser = parse_peers)]
    peers: Vec<(String, Vec<String>)>,
}

fn main() -> ExitCode {
    let Cli { stdio, engine, distributed, group, peers } = Cli::parse();
    let Some(distributed) = (DistributedArgs { distributed: true, ..distributed }).options(&stdio) else {
        return ExitCode::FAILURE;
    };
    let options = ScatterNodeOptions {
        group: Some(group),
        peers,
        engine: engine.options(),
        request_timeout: Duration::from_millis(stdio.request_timeout),
        distributed,
    };
    run(&stdio, || Ok(ScatterNode::new(options)))
}
