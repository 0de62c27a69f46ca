//! The names that all parts of a sharded store share: a shard, a replica group, a configuration's number.
//!
//! Leaves out: which key belongs to which shard, and which shard to which group; the configuration log tells.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A shard: a part of the key space that belongs to one replica group at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a configuration. Numbers grow along the configuration log and may have holes; 0 stands for "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConfigNumber(pub u64);

impl fmt::Display for ConfigNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of a replica group, such as `g1`. A clone shares the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Gid(pub Arc<str>);

impl Gid {
    /// The group of this name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Gid(name.into())
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
