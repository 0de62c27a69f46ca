//! One group's part of a change of configuration: what to serve from now on, and where data comes from and goes to.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::names::{ConfigNumber, Gid, ShardId};

/// What one group has to do to go from one configuration to the next in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The configuration to go to.
    pub number: ConfigNumber,
    /// The one before it in the log, where the group must be.
    pub previous: ConfigNumber,
    /// The number of shards in all, over all groups.
    pub shard_count: u32,
    /// The shards that this group serves under the configuration.
    pub shards: BTreeSet<ShardId>,
    /// For gained shards whose data another group has: which one.
    pub sources: BTreeMap<ShardId, Source>,
    /// For lost shards that another group gains: which one. A lost shard without a target is kept, unserved.
    pub targets: BTreeMap<ShardId, Gid>,
}

/// Where the data of a gained shard is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The group that has it.
    pub gid: Gid,
    /// The configuration that took the shard away from it, when known.
    pub taken_at: Option<ConfigNumber>,
}
