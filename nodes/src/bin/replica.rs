//! The binary `replica`: one group of registers; each node answers reads that say how fresh they are.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::distributed::DistributedOptions;
use quorate_nodes::services::Replica;
use quorate_nodes::stdio::{StdioOptions, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    /// Be the one node that `init` names; the others are other processes, reached through this one's input and output.
    #[arg(long)]
    distributed: bool,

    /// With --distributed: the milliseconds between a leader's signs of life. More than a message takes to another node
    /// and back.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..60_000))]
    heartbeat: u64,
}

fn main() -> ExitCode {
    let Cli { stdio, distributed, heartbeat } = Cli::parse();
    let options = DistributedOptions { heartbeat: Duration::from_millis(heartbeat), seed: stdio.seed };
    run(&stdio, || Ok(if distributed { Replica::distributed(options) } else { Replica::new((&stdio).into()) }))
}
