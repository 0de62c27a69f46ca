//! The systems as services behind the stdio protocol: what each binary runs.
//!
//! Promises: an error's code is definite only if the operation has not taken effect and never will.
//! Leaves out: the protocol's general rules (order, deadlines, bad input), which are [`crate::stdio`]'s.

mod data;
mod errors;
mod group_sessions;
#[cfg(test)]
mod group_sessions_tests;
pub mod late;
pub mod machine;
pub mod master;
pub mod presence;
pub mod replica;
pub mod replica_group;
pub mod shardkv;
pub mod targets;

use std::path::PathBuf;
use std::time::Duration;

use quorate::{Fatal, GroupOptions};
use tokio::time::Instant;

use crate::disk::Whose;
use crate::embedded::World;
use crate::stdio::{ErrorReply, Failure, StdioOptions};

pub use machine::MachineNode;
pub use master::{Master, MasterOptions};
pub use replica::Replica;
pub use replica_group::{ReplicaGroup, ReplicaGroupMember};
pub use shardkv::ShardKv;

/// How a service runs its groups in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Replicas of a group, where no request names them one by one.
    pub replicas: usize,
    /// The number of shards, where no request says it.
    pub shards: u32,
    /// Where random choices follow from; drawn at random itself if missing.
    pub seed: Option<u64>,
    /// Where everything is kept; nothing is if it is missing.
    pub data_dir: Option<PathBuf>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions { replicas: 3, shards: 10, seed: None, data_dir: None }
    }
}

impl From<&StdioOptions> for ServiceOptions {
    fn from(options: &StdioOptions) -> Self {
        ServiceOptions {
            replicas: options.replicas as usize,
            shards: options.shards,
            seed: options.seed,
            data_dir: options.data_dir.clone(),
        }
    }
}

impl ServiceOptions {
    /// A world for the groups of the service `what` with these `nodes`, and the same number of replicas of each group if the
    /// nodes do not say how many. Goes on with what was kept.
    ///
    /// # Errors
    /// The reply to `init` when the data directory cannot be used; then the process ends.
    pub async fn open(
        &self,
        what: &str,
        nodes: Vec<String>,
        replicas: Option<usize>,
        group: GroupOptions,
        failure: &Failure,
    ) -> Result<World, ErrorReply> {
        match &self.data_dir {
            None => Ok(World::seeded(group, self.seed)),
            Some(dir) => {
                let opened = World::open(dir, Whose::whole(what, nodes, replicas), group, self.seed).await;
                opened.map_err(|error| unusable(failure, Fatal(format!("{error:#}"))))
            }
        }
    }
}

/// The reply to an `init` that finds what was kept unusable: the process ends.
pub fn unusable(failure: &Failure, Fatal(text): Fatal) -> ErrorReply {
    failure.tell(&text);
    ErrorReply::crash(text).reason("fatal")
}

/// The reply to a fault where nodes are processes of their own: whoever runs them breaks them.
fn no_faults() -> ErrorReply {
    ErrorReply::not_supported("faults are for a whole cluster in one process")
}

/// How long to wait for a group's first leader. Without one it starts all the same: requests wait for it too.
const FIRST_LEADER: Duration = Duration::from_secs(1);

/// What is left until `deadline`.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
