//! The program `quorate-sql`: statements to the tables of a cluster of servers, and servers that carry statements out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_nodes::logs::{self, LogFlags};
use quorate_nodes::server::{self, ClusterFlags, ServerFlags};
use quorate_nodes::up::{self, UpFlags};
use quorate_sql::query::{self, QueryFlags, role};
use quorate_sql::service::EngineArgs;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is said of `--servers`: a coordinator stays, and asks more than once.
const SERVERS: &str = "Servers of the cluster (`host:port` of clients), separated by commas; the others are asked when one does not answer";

/// SQL over tables whose rows are spread over the servers of a cluster (`quorate up --tables 3`, or `[[groups]]` of the machine
/// `tables`).
#[derive(Parser)]
#[command(name = "quorate-sql", version, arg_required_else_help = true, mut_arg("servers", |arg| arg.help(SERVERS)))]
struct Cli {
    #[command(flatten)]
    log: LogFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Carries statements out and shows what comes of them. This process coordinates them; the rows are the servers'.
    Query(QueryFlags),
    /// `quorate server` with a coordinator: `quorate ctl query` and any client of gRPC may ask it. With `clients_tls`, the servers
    /// are trusted by `--ca`, and shown `--cert`.
    Server {
        #[command(flatten)]
        server: ServerFlags,
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// `quorate up` of such servers.
    Up(UpFlags),
}

fn main() -> ExitCode {
    let Cli { log, cluster, command } = Cli::parse();
    log.begin(if matches!(command, Command::Server { .. }) { logs::NODE } else { logs::OTHERS });
    let run = || -> anyhow::Result<()> {
        quorate::planted::admit()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let done = runtime.block_on(async {
            match command {
                Command::Query(flags) => query::run(&cluster, &flags).await,
                Command::Server { server, engine } => {
                    let (tls, engine) = (cluster.tls.clone(), engine.options());
                    server::run_with(&server, |node| node.queries(move |config| role(config, tls, engine))).await
                }
                Command::Up(flags) => up::run(&flags).await,
            }
        });
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
