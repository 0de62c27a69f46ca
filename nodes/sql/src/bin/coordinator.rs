//! The binary `coordinator`: SQL over shards, each a replicated group.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate_nodes::server::ClientTls;
use quorate_nodes::stdio::{StdioOptions, run};
use quorate_sql::scatter::EngineOptions;
use quorate_sql::service::{Coordinator, CoordinatorOptions, OnServers};

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

    /// The shards are on servers of a cluster (`host:port` of clients, separated by commas): groups of the machine `tables` with
    /// the names that `init` gives. Without it they are in this process.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["data_dir", "allow_faults"])]
    servers: Vec<String>,

    #[command(flatten)]
    tls: ClientTls,
}

fn main() -> ExitCode {
    let Cli { stdio, query_memory, query_threads, servers, tls } = Cli::parse();
    let default = EngineOptions::default();
    let engine = EngineOptions {
        threads: query_threads.map_or(default.threads, usize::from),
        memory_bytes: query_memory as usize * 1024 * 1024,
    };
    let options = CoordinatorOptions {
        service: (&stdio).into(),
        engine,
        request_timeout: Duration::from_millis(stdio.request_timeout),
        servers: (!servers.is_empty()).then_some(OnServers { addresses: servers, tls }),
    };
    run(&stdio, || Ok(Coordinator::new(options)))
}
