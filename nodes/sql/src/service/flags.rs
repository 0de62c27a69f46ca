//! Options of the binaries that compute queries.

use std::time::Duration;

use quorate_nodes::distributed::DistributedArgs;
use quorate_nodes::services::replica_group;
use quorate_nodes::stdio::StdioOptions;

use super::apart::ScatterNodeOptions;
use crate::scatter::EngineOptions;

/// What the binaries `coordinator` and `shard` have in common. Flatten it into the binary's own options.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ScatterArgs {
    /// What every binary has.
    #[command(flatten)]
    pub stdio: StdioOptions,

    /// How queries compute.
    #[command(flatten)]
    pub engine: EngineArgs,

    /// Whether the process is one node.
    #[command(flatten)]
    pub distributed: DistributedArgs,
}

impl ScatterArgs {
    /// How long a query may take.
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.stdio.request_timeout)
    }

    /// What they come to, if the process is one node: the replica of `group`, and who has the shards that `peers` names.
    pub fn node(&self, group: Option<String>, peers: Vec<(String, Vec<String>)>) -> Option<ScatterNodeOptions> {
        let distributed = self.distributed.options(&self.stdio)?;
        let (engine, request_timeout) = (self.engine.options(), self.request_timeout());
        Some(ScatterNodeOptions { group, peers, engine, request_timeout, distributed })
    }
}

/// How queries compute. Flatten it into the binary's own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct EngineArgs {
    /// Let all queries together hold at most so many mebibytes.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub query_memory: u32,

    /// Compute queries on so many threads. Without it, as many as there are cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub query_threads: Option<u16>,
}

impl EngineArgs {
    /// What they come to.
    pub fn options(&self) -> EngineOptions {
        let default = EngineOptions::default();
        EngineOptions {
            threads: self.query_threads.map_or(default.threads, usize::from),
            memory_bytes: self.query_memory as usize * 1024 * 1024,
        }
    }
}

/// Reads `s1=n4,n5,n6`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_peers(text: &str) -> Result<(String, Vec<String>), String> {
    let (shard, nodes) = replica_group::parse_peers(text)?;
    Ok((shard.0.to_string(), nodes))
}
