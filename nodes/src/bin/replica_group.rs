//! The binary `replica_group`: shard groups that are told their configurations and move shards among each other.

use std::process::ExitCode;

use clap::Parser;
use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::services::replica_group::{ReplicaGroup, ReplicaGroupMember, parse_peers};
use quorate_nodes::stdio::{StdioOptions, run};
use quorate_statemachines::Gid;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    stdio: StdioOptions,

    #[command(flatten)]
    distributed: DistributedArgs,

    /// With --distributed: the group that this process has a replica of.
    #[arg(long, value_name = "GROUP", required_if_eq("distributed", "true"), requires = "distributed")]
    group: Option<String>,

    /// With --distributed: another group, and the names of its nodes. May be said several times.
    #[arg(long, value_name = "GROUP=NODE,...", value_parser = parse_peers, requires = "distributed")]
    peers: Vec<(Gid, Vec<String>)>,
}

fn main() -> ExitCode {
    let Cli { stdio, distributed, group, peers } = Cli::parse();
    let options = (&stdio).into();
    run(&stdio, || {
        Ok(match (distributed.options(&stdio), group) {
            (Some(distributed), Some(group)) => {
                let member =
                    ReplicaGroupMember { group: Gid::new(group), peers: peers.into_iter().collect(), distributed };
                ReplicaGroup::distributed(options, member)
            }
            _ => ReplicaGroup::new(options),
        })
    })
}
