//! The program `quorate-sql`: statements to the tables of a cluster of servers.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_sql::query::{self, Cluster, QueryFlags};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// SQL over tables whose rows are spread over the servers of a cluster (`quorate up --tables 3`, or `[[groups]]` of the machine
/// `tables`).
#[derive(Parser)]
#[command(name = "quorate-sql", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    cluster: Cluster,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carries statements out and shows what comes of them. This process coordinates them; the rows are the servers'.
    Query(QueryFlags),
}

fn main() -> ExitCode {
    let Cli { cluster, command: Command::Query(flags) } = Cli::parse();
    let run = || -> anyhow::Result<()> {
        quorate::planted::admit()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(query::run(&cluster, &flags));
        // Standard input may be waited for.
        runtime.shutdown_background();
        done
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-sql: {error:#}");
            ExitCode::FAILURE
        }
    }
}
