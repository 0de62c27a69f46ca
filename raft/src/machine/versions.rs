//! Versions of a machine's commands: which ones a program can apply, and which one a group's replicas apply by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A version of a machine's commands and of what they do. Every group begins at version 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandVersion(pub u32);

impl fmt::Display for CommandVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {}", self.0)
    }
}

/// The versions that one program can apply; only version 0 unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest: a log that was written before may be replayed.
    pub oldest: CommandVersion,
    /// The newest.
    pub newest: CommandVersion,
}

impl Versions {
    /// From `oldest` to `newest`.
    pub const fn new(oldest: u32, newest: u32) -> Self {
        Versions { oldest: CommandVersion(oldest), newest: CommandVersion(newest) }
    }

    /// Whether `version` is one of them.
    pub fn contains(self, version: CommandVersion) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "versions {} to {}", self.oldest.0, self.newest.0)
    }
}
