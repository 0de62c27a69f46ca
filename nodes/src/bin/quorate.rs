//! `quorate`: the tour.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_nodes::demo::{self, DemoOptions};
use tracing_subscriber::EnvFilter;

/// Linearizable, fault-tolerant services from deterministic state machines.
///
/// Start with `quorate demo`. The node binaries `shardkv`, `replica_group` and `replica` speak JSON lines on standard
/// input and output; each explains itself with --help.
#[derive(Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A tour in under a minute: a sharded store in this process is loaded with a book while leaders die and shards
    /// move; what it promised is then checked.
    Demo(DemoOptions),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,openraft=off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let run = || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match &cli.command {
            Command::Demo(options) => runtime.block_on(demo::run(options)),
        }
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
