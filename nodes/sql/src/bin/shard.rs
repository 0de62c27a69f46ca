//! The binary `shard`: one replica of one shard of a coordinator that is another process.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::stdio::run;
use quorate_sql::service::{ScatterArgs, ScatterNode, parse_peers};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    scatter: ScatterArgs,

    /// The shard that this process has a replica of.
    #[arg(long, value_name = "SHARD")]
    group: String,

    /// A shard, and the nodes that are its replicas; those of other shards do not matter here. Without its own, its replicas
    /// are the nodes that `init` names, or this one alone.
    #[arg(long, value_name = "SHARD=NODE,...", value_parser = parse_peers)]
    peers: Vec<(String, Vec<String>)>,
}

fn main() -> ExitCode {
    let Cli { mut scatter, group, peers } = Cli::parse();
    // A shard is always one node among others: --distributed may be said, and changes nothing.
    scatter.distributed.distributed = true;
    match scatter.node(Some(group), peers) {
        Some(options) => run(&scatter.stdio, || Ok(ScatterNode::new(options))),
        None => ExitCode::FAILURE,
    }
}
