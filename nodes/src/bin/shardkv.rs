//! The binary `shardkv`: a sharded key-value store with its controller, behind proxies.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::services::ShardKv;
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
    run(&stdio, || Ok(ShardKv::new((&stdio).into())))
}
