//! The binary `shardkv`: a sharded key-value store with its controller, behind proxies.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::services::ShardKv;
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
}

fn main() -> ExitCode {
    let Cli { stdio, distributed } = Cli::parse();
    let options = (&stdio).into();
    run(&stdio, || {
        Ok(match distributed.options(&stdio) {
            Some(distributed) => ShardKv::distributed(options, distributed),
            None => ShardKv::new(options),
        })
    })
}
