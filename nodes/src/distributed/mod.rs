//! One node of a cluster in a process of its own; the others are in other processes, reached through the lines of standard
//! input and output.
//!
//! - [`Roster`]: who the nodes are, and which one this is.
//! - [`DistributedNode`]: this process's node, its replicas, its way to the others.
//!
//! Promises: starts at once, whoever else is there yet; from the names alone, all processes come to the same groups; with
//! a data directory, a process that was killed goes on where it was.
//! Leaves out: without a data directory, coming back: a process that has lost its memory must not return under its old name.

mod node;
mod roster;

use std::path::PathBuf;
use std::time::Duration;

use quorate::GroupOptions;

pub use node::DistributedNode;
pub use roster::Roster;

use crate::stdio::StdioOptions;

/// The options of binaries that can be one node in each process. Flatten it into the binary's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct DistributedArgs {
    /// Be the one node that `init` names; the others are other processes, reached through this one's input and output.
    #[arg(long)]
    pub distributed: bool,

    /// With --distributed: the milliseconds between a leader's signs of life. More than a message takes to another node
    /// and back.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..60_000))]
    pub heartbeat: u64,
}

impl DistributedArgs {
    /// What they come to, if the process is one node.
    pub fn options(&self, stdio: &StdioOptions) -> Option<DistributedOptions> {
        let heartbeat = Duration::from_millis(self.heartbeat);
        let (seed, data_dir) = (stdio.seed, stdio.data_dir.clone());
        self.distributed.then_some(DistributedOptions { heartbeat, seed, data_dir })
    }
}

/// How the nodes of a cluster find each other, and what they keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributedOptions {
    /// A leader's sign of life. It must be longer than a message takes to another node and back.
    pub heartbeat: Duration,
    /// Where random choices follow from, together with the node's name; drawn at random if missing.
    pub seed: Option<u64>,
    /// Where each node has a directory of its own name; nothing is kept if it is missing.
    pub data_dir: Option<PathBuf>,
}

impl DistributedOptions {
    /// Timeouts in proportion: a leader is missed after five to ten heartbeats.
    pub fn group(&self) -> GroupOptions {
        GroupOptions {
            heartbeat: self.heartbeat,
            election_timeout: (self.heartbeat * 5, self.heartbeat * 10),
            lease_margin: self.heartbeat,
            ..GroupOptions::default()
        }
    }
}
