//! One replica's log and vote as its steps show them, and that what it had flushed is there in its next life.

use std::collections::{BTreeMap, BTreeSet};

use quorate::log::{Entry, LogState};
use quorate::types::Vote;
use quorate::{LogId, Membership, Term};

use super::{Broken, digest, membership};

/// Figure 2 of the thesis keeps `currentTerm`, `votedFor` and `log[]` on stable storage, "updated before responding to RPCs".
pub(super) const DURABLE: &str = "what was flushed is there after a restart (thesis §3.8)";

/// An entry that a log holds.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) term: Term,
    pub(super) digest: u64,
    pub(super) membership: Option<Membership>,
    /// Whether the log has said that it is durable.
    pub(super) durable: bool,
}

/// A replica, through all its lives.
#[derive(Default)]
pub(super) struct Replica {
    pub(super) entries: BTreeMap<u64, Held>,
    /// What a snapshot covers.
    pub(super) purged: Option<LogId>,
    /// The vote last asked to be saved in this life, and ...
    pub(super) vote_asked: Option<Vote>,
    /// ... the one that the log has said to be durable.
    pub(super) vote_kept: Option<Vote>,
    /// What the machine applied last since it was made or restored: index and place.
    pub(super) applied: Option<(u64, u32)>,
}

impl Replica {
    /// A life begins with this log.
    pub(super) fn begin(&mut self, log: LogState, entries: &[Entry]) -> Vec<Broken> {
        let mut broken = Vec::new();
        let found: BTreeMap<u64, Held> = entries
            .iter()
            .map(|entry| {
                let held = Held {
                    term: entry.id.term,
                    digest: digest(entry),
                    membership: membership(entry),
                    // What a life begins with it speaks of as its own: it must survive the next crash, whatever came before.
                    durable: true,
                };
                (entry.id.index.0, held)
            })
            .collect();
        let covered = log.purged.map_or(0, |purged| purged.index.0 + 1);
        for (index, held) in self.entries.range(covered..).filter(|(_, held)| held.durable) {
            let same = found.get(index).is_some_and(|now| (now.term, now.digest) == (held.term, held.digest));
            if !same {
                let now = found.get(index).map(|now| now.term);
                broken.push((DURABLE, format!("entry {index} of {} was, and now it is {now:?}", held.term)));
            }
        }
        if log.purged < self.purged.filter(|_| !self.entries.is_empty()) && log.last < self.purged {
            broken.push((DURABLE, format!("the log was purged through {:?} and ends at {:?}", self.purged, log.last)));
        }
        self.entries = found;
        self.purged = log.purged;
        self.vote_asked = self.vote_kept;
        self.applied = None;
        broken
    }

    /// The term of the entry before this one, where it is known.
    pub(super) fn term_before(&self, id: LogId) -> Option<Term> {
        let before = id.index.0.checked_sub(1)?;
        let purged = self.purged.filter(|purged| purged.index.0 == before).map(|purged| purged.term);
        self.entries.get(&before).map(|held| held.term).or(purged)
    }

    pub(super) fn append(&mut self, entry: &Entry) {
        let index = entry.id.index.0;
        drop(self.entries.split_off(&index));
        let held = Held { term: entry.id.term, digest: digest(entry), membership: membership(entry), durable: false };
        self.entries.insert(index, held);
    }

    pub(super) fn flush(&mut self, id: LogId) {
        if let Some(held) = self.entries.get_mut(&id.index.0).filter(|held| held.term == id.term) {
            held.durable = true;
        }
    }

    pub(super) fn truncate(&mut self, last: Option<LogId>) {
        let from = last.map_or(0, |last| last.index.0 + 1);
        drop(self.entries.split_off(&from));
    }

    pub(super) fn purge(&mut self, through: LogId) {
        self.entries = self.entries.split_off(&(through.index.0 + 1));
        self.purged = self.purged.max(Some(through));
    }

    pub(super) fn lose_power(&mut self) {
        self.applied = None;
    }

    /// The term of the entry here, as far as this replica knows; `Ok(None)` where a snapshot covers it.
    pub(super) fn term_at(&self, index: u64) -> Result<Option<Term>, ()> {
        if self.purged.is_some_and(|purged| index <= purged.index.0) {
            return Ok(None);
        }
        self.entries.get(&index).map(|held| Some(held.term)).ok_or(())
    }

    /// Whether it would still have this entry after a power failure.
    pub(super) fn has_durably(&self, id: LogId) -> bool {
        let is_covered = self.purged.is_some_and(|purged| id.index <= purged.index);
        is_covered || self.entries.get(&id.index.0).is_some_and(|held| held.durable && held.term == id.term)
    }

    /// The memberships that its log says were in force at this entry or later, the one at the entry first.
    pub(super) fn memberships_from(&self, index: u64) -> (Option<&Membership>, Vec<&Membership>) {
        let at = self.entries.range(..=index).rev().find_map(|(_, held)| held.membership.as_ref());
        let later = self.entries.range(index + 1..).filter_map(|(_, held)| held.membership.as_ref()).collect();
        (at, later)
    }
}

/// Whether these replicas are a majority of every set of voters (thesis §4.3).
pub(super) fn is_quorum(membership: &Membership, has: &BTreeSet<quorate::NodeId>) -> bool {
    membership.voters.iter().all(|set| 2 * set.intersection(has).count() > set.len())
}
