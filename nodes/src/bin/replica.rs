//! The binary `replica`: one group of registers; each node answers reads that say how fresh they are.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::services::Replica;
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
    run(&stdio, || {
        Ok(match distributed.options(&stdio) {
            Some(distributed) => Replica::distributed(distributed),
            None => Replica::new((&stdio).into()),
        })
    })
}
