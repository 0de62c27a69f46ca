//! The binary `replica_group`: shard groups that are told their configurations and move shards among each other.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::services::ReplicaGroup;
use quorate_nodes::stdio::{StdioOptions, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,
}

fn main() -> ExitCode {
    let Cli { stdio } = Cli::parse();
    run(&stdio, || Ok(ReplicaGroup::new((&stdio).into())))
}
