//! The systems as services behind the stdio protocol: what each binary runs.
//!
//! Promises: an error's code is definite only if the operation has not taken effect and never will.
//! Leaves out: the protocol's general rules (order, deadlines, bad input), which are [`crate::stdio`]'s.

mod data;
mod errors;
pub mod master;
pub mod presence;
pub mod replica;
pub mod replica_group;
pub mod shardkv;
pub mod targets;

use std::time::Duration;

use tokio::time::Instant;

use crate::embedded::World;
use crate::stdio::StdioOptions;

pub use master::{Master, MasterOptions};
pub use replica::Replica;
pub use replica_group::ReplicaGroup;
pub use shardkv::ShardKv;

/// How a service runs its groups in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Replicas of a group, where no request names them one by one.
    pub replicas: usize,
    /// The number of shards, where no request says it.
    pub shards: u32,
    /// Where random choices follow from; drawn at random itself if missing.
    pub seed: Option<u64>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        ServiceOptions { replicas: 3, shards: 10, seed: None }
    }
}

impl From<&StdioOptions> for ServiceOptions {
    fn from(options: &StdioOptions) -> Self {
        ServiceOptions { replicas: options.replicas as usize, shards: options.shards, seed: options.seed }
    }
}

impl ServiceOptions {
    /// A world for its groups.
    pub fn world(&self) -> World {
        World::seeded(Default::default(), self.seed)
    }
}

/// How long to wait for a group's first leader. Without one it starts all the same: requests wait for it too.
const FIRST_LEADER: Duration = Duration::from_secs(1);

/// What is left until `deadline`.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
