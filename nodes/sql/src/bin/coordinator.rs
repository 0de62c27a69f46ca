//! The binary `coordinator`: SQL over shards, each a replicated group.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::stdio::{StdioOptions, run};
use quorate_sql::scatter::EngineOptions;
use quorate_sql::service::{Coordinator, CoordinatorOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    /// Let all queries together hold at most so many mebibytes.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    query_memory: u32,

    /// Compute queries on so many threads. Without it, as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    query_threads: Option<u16>,
}

fn main() -> ExitCode {
    let Cli { stdio, query_memory, query_threads } = Cli::parse();
    let default = EngineOptions::default();
    let engine = EngineOptions {
        threads: query_threads.map_or(default.threads, usize::from),
        memory_bytes: query_memory as usize * 1024 * 1024,
    };
    let options = CoordinatorOptions {
        service: (&stdio).into(),
        engine,
        request_timeout: Duration::from_millis(stdio.request_timeout),
    };
    run(&stdio, || Ok(Coordinator::new(options)))
}
