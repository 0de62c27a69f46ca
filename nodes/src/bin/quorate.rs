//! `quorate`: the tour, a node, a cluster on this machine, and a cluster from the outside.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use quorate_nodes::backup::{self, RestoreFlags};
use quorate_nodes::bench::{self, BenchFlags};
use quorate_nodes::ctl::{self, CtlFlags};
use quorate_nodes::demo::{self, DemoOptions};
use quorate_nodes::logs::{self, LogFlags};
use quorate_nodes::server::{self, RecoverFlags, ServerFlags};
use quorate_nodes::up::{self, UpFlags};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Linearizable, fault-tolerant services from deterministic state machines.
///
/// Start with `quorate demo`; then try `quorate up`, a durable cluster on this machine, and `quorate ctl` against it. The node binaries `shardkv`, `replica_group` and `replica` speak JSON lines on standard
/// input and output; each explains itself with --help.
#[derive(Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: LogFlags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A tour in under a minute: a sharded store in this process is loaded with a book while leaders die and shards
    /// move; what it promised is then checked.
    Demo(DemoOptions),
    /// One node of a durable cluster: its groups on disk, its peers and clients over gRPC.
    Server(ServerFlags),
    /// A whole durable cluster on this machine, each node a process.
    Up(UpFlags),
    /// Asks a cluster, and tells it what to do.
    Ctl(CtlFlags),
    /// Makes the data directory of a node of a new cluster from a backup (`quorate ctl backup`).
    Restore(RestoreFlags),
    /// Operations a second of a durable cluster, how long they take and what they cost; beside etcd if one is there.
    Bench(BenchFlags),
    /// The last resort of a group whose quorum is lost for good: it goes on with what one node has. Run on that node while
    /// its server does not; tells what may be lost, and changes nothing unless that is accepted.
    Recover(RecoverFlags),
    /// Certificates for trying a cluster with TLS: an authority and one certificate for each node.
    Certs {
        /// Where to put them.
        #[arg(long, default_value = "certs")]
        dir: std::path::PathBuf,
        /// The nodes.
        #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
        nodes: Vec<u64>,
    },
}

impl Command {
    /// What is logged if the environment does not say.
    fn filter(&self) -> &'static str {
        match self {
            Command::Server(_) => logs::NODE,
            _ => logs::OTHERS,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli.log.begin(cli.command.filter());
    let run = || -> anyhow::Result<()> {
        quorate::planted::admit()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        match &cli.command {
            Command::Demo(options) => runtime.block_on(demo::run(options)),
            Command::Server(flags) => runtime.block_on(server::run(flags)),
            Command::Up(flags) => runtime.block_on(up::run(flags)),
            Command::Ctl(flags) => runtime.block_on(ctl::run(flags)),
            Command::Restore(flags) => runtime.block_on(backup::restore(flags)),
            Command::Bench(flags) => runtime.block_on(bench::run(flags)),
            Command::Recover(flags) => runtime.block_on(server::recover(flags)),
            Command::Certs { dir, nodes } => server::make_certs(dir, nodes),
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
