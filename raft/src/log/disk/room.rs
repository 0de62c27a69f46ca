//! How much room the disk has for certain, who may use which part of it, and who waits for some.

use std::io;

use tokio::sync::oneshot;

use super::segment::{RECORD_MIN, header_bound};
use crate::types::GroupId;

/// Space that is allocated: whatever is queued fits into one of the two.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    /// What the current segment still takes.
    pub(super) current: u64,
    /// The size of the file that becomes the next segment.
    pub(super) spare: Option<u64>,
}

impl Room {
    /// What fits into the spare file besides its header and a last marker.
    pub(super) fn of_spare(spare: u64, groups: usize) -> u64 {
        spare.saturating_sub(header_bound(groups) + RECORD_MIN)
    }

    /// What fits into one of the two.
    pub(super) fn most(&self, groups: usize) -> u64 {
        self.current.max(self.spare.map_or(0, |spare| Self::of_spare(spare, groups)))
    }
}

/// Which part of the room something may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Entries: all but the reserve.
    Entries,
    /// Rewriting, which is to make room: all but half of the reserve.
    Rewriting,
    /// Votes, truncations, purges: all of it. They do not wait behind entries either.
    Control,
}

/// Somebody who waits for room in the queue or on the disk.
pub(super) struct Want {
    pub(super) group: GroupId,
    pub(super) bytes: u64,
    pub(super) purpose: Use,
    pub(super) answer: oneshot::Sender<io::Result<()>>,
}
