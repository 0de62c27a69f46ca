//! The binary `master`: metadata masters, one primary and its hot shadows.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::services::{Master, MasterOptions};
use quorate_nodes::stdio::{StdioOptions, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    #[command(flatten)]
    distributed: DistributedArgs,

    /// Replace a primary that was silent for so many milliseconds, where no election does it sooner.
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    failure_timeout: u64,

    /// Take a chunk server that was silent for so many milliseconds for lost.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..))]
    chunkserver_timeout: u64,

    /// Elect another primary when this one was silent for so many milliseconds, or half of that. With --distributed, five to
    /// ten heartbeats count in its place.
    #[arg(long, value_name = "MS", default_value_t = 150, value_parser = clap::value_parser!(u64).range(10..))]
    election_timeout: u64,
}

fn main() -> ExitCode {
    let Cli { stdio, distributed, failure_timeout, chunkserver_timeout, election_timeout } = Cli::parse();
    let options = MasterOptions {
        service: (&stdio).into(),
        failure_timeout: Duration::from_millis(failure_timeout),
        chunkserver_timeout: Duration::from_millis(chunkserver_timeout),
        election_timeout: Duration::from_millis(election_timeout),
    };
    run(&stdio, || {
        Ok(match distributed.options(&stdio) {
            Some(distributed) => Master::distributed(options, distributed),
            None => Master::new(options),
        })
    })
}
