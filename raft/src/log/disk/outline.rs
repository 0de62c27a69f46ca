//! What is to be known of a group beside its entries: the part of it that every segment's checkpoint repeats.

use serde::{Deserialize, Serialize};

use super::record::Effect;
use crate::types::{LogId, Vote};

/// A group without its entries.
///
/// Invariants: the entries held are those of `first..end`; when there are none, `first == end` is the index that must be
/// appended next, or any may be if nothing was ever purged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

impl Outline {
    /// The most bytes that one takes in a checkpoint, together with its group.
    pub(super) const BYTES_MAX: u64 = 96;

    pub(super) fn is_empty(&self) -> bool {
        self.first == self.end
    }

    /// Whether entries may be appended from `index` on.
    pub(super) fn accepts(&self, index: u64) -> bool {
        self.is_empty() && self.purged.is_none() || (self.first..=self.end).contains(&index)
    }

    /// The index that an entry would have after `last`, within what is held.
    pub(super) fn bound(&self, last: Option<LogId>) -> u64 {
        last.map_or(0, |id| id.index.0.saturating_add(1)).clamp(self.first, self.end)
    }

    pub(super) fn append(&mut self, index: u64) {
        if self.is_empty() {
            self.first = index;
        }
        self.end = index + 1;
    }

    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        self.end = self.bound(last);
    }

    pub(super) fn purge(&mut self, through: LogId) {
        self.first = self.bound(Some(through));
        self.purged = self.purged.max(Some(through));
        if let (true, Some(purged)) = (self.is_empty(), self.purged) {
            self.first = purged.index.0.saturating_add(1);
            self.end = self.first;
        }
    }

    /// Carries out what a record says, but for the group's removal, which is its owner's.
    pub(super) fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Entry(id, _) => self.append(id.index.0),
            Effect::Truncate(last) => self.truncate(*last),
            Effect::Purge(through) => self.purge(*through),
            Effect::Vote(vote) => self.vote = Some(*vote),
            Effect::Committed(committed) => self.committed = *committed,
            Effect::Moved(..) | Effect::Removed | Effect::Synced => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{GroupId, Index, NodeId, Term};

    #[test]
    fn an_outline_never_takes_more_than_its_bound() {
        let id = LogId { term: Term(u64::MAX), index: Index(u64::MAX) };
        let outline = Outline {
            first: u64::MAX,
            end: u64::MAX,
            purged: Some(id),
            vote: Some(Vote { term: Term(u64::MAX), node: NodeId(u64::MAX), committed: true }),
            committed: Some(id),
        };
        let bytes = postcard::to_stdvec(&(GroupId(u64::MAX), outline)).unwrap();
        assert!(bytes.len() as u64 <= Outline::BYTES_MAX, "{} bytes", bytes.len());
    }
}
