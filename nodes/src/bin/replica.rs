//! The binary `replica`: one group of registers; each node answers reads that say how fresh they are.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::services::Replica;
use quorate_nodes::stdio::{StdioOptions, run};

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,
}

fn main() -> ExitCode {
    let Cli { stdio } = Cli::parse();
    run(&stdio, || Ok(Replica::new((&stdio).into())))
}
