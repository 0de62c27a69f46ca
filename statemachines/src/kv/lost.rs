//! A shard that a configuration took away, as long as its data is here.

use quorate::types::Index;

use super::contents::Contents;
use super::marks::Marks;
use crate::names::{ConfigNumber, Gid};

/// A lost shard: served on while another group copies it (outgoing), then frozen until it is given up.
///
/// Invariants: one lost to nobody is frozen from the start; nothing changes in a frozen one, so `marks` has no index
/// above `frozen_at`.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// The configuration that took it away: it names this loss for all who speak of it.
    pub(super) lost_at: ConfigNumber,
    /// Who gets it; `None`: nobody yet, it is kept.
    pub(super) to: Option<Gid>,
    /// The entry that took it away.
    pub(super) since: Index,
    /// The entry since which it is not served.
    pub(super) frozen_at: Option<Index>,
    pub(super) contents: Contents,
    /// What changed after `since`.
    pub(super) marks: Marks,
}

impl Lost {
    pub(super) fn new(contents: Contents, lost_at: ConfigNumber, to: Option<Gid>, since: Index) -> Self {
        let frozen_at = to.is_none().then_some(since);
        Lost { lost_at, to, since, frozen_at, contents, marks: Marks::default() }
    }

    /// Whether it holds the group back from the next configuration.
    pub(super) fn is_in_transfer(&self) -> bool {
        self.to.is_some()
    }
}
