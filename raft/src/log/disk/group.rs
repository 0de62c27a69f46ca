//! One group in memory: its outline, where each entry stands, and the newest entries themselves.

use std::collections::VecDeque;

use super::outline::Outline;
use super::record::Effect;
use super::segment::{Segments, Slot};
use crate::log::Entry;
use crate::types::{Index, LogId, Term};

/// A group's part of the log.
///
/// Invariants: `slots` has one place for each of the outline's entries; `recent` holds the last few of them, at least
/// those that are not written yet.
#[derive(Default)]
pub(super) struct GroupState {
    pub(super) outline: Outline,
    slots: VecDeque<Slot>,
    /// With the sequence numbers of their records, which grow.
    recent: VecDeque<(u64, Entry)>,
    /// [`Entry::size`] of all entries together.
    pub(super) bytes: u64,
}

impl GroupState {
    /// A group as a checkpoint has it: entries are to be found that nobody has seen yet.
    pub(super) fn outlined(outline: Outline) -> Self {
        let unknown = Slot { term: 0, segment: 0, offset: 0, length: 0, size: 0 };
        let count = usize::try_from(outline.end.saturating_sub(outline.first)).unwrap_or(0);
        GroupState { outline, slots: vec![unknown; count].into(), ..GroupState::default() }
    }

    /// The first entry that was never found.
    pub(super) fn missing(&self) -> Option<Index> {
        let at = self.slots.iter().position(|slot| slot.segment == 0)?;
        Some(Index(self.outline.first + at as u64))
    }

    pub(super) fn last(&self) -> Option<LogId> {
        let held = self.slots.back();
        held.map(|slot| LogId { term: Term(slot.term), index: Index(self.outline.end - 1) }).or(self.outline.purged)
    }

    pub(super) fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.outline.first)?).ok()?)
    }

    /// The entry, if it is at hand.
    pub(super) fn recent(&self, index: u64) -> Option<&Entry> {
        let before_end = usize::try_from(self.outline.end.checked_sub(index)?).ok()?;
        self.recent.get(self.recent.len().checked_sub(before_end)?).map(|(_, entry)| entry)
    }

    /// Carries out what a record says. Gives how many bytes of recent entries are gone.
    pub(super) fn apply(&mut self, effect: &Effect, slot: Slot, segments: &mut Segments) -> u64 {
        let mut gone = 0;
        match effect {
            Effect::Entry(id, _) => {
                gone = self.drop_from(id.index.0, segments);
                self.bytes += u64::from(slot.size);
                segments.hold(&slot);
                self.slots.push_back(slot);
            }
            Effect::Moved(id, _) => self.place(id.index.0, slot, segments),
            Effect::Truncate(last) => gone = self.drop_from(self.outline.bound(*last), segments),
            Effect::Purge(through) => {
                for _ in self.outline.first..self.outline.bound(Some(*through)) {
                    let Some(slot) = self.slots.pop_front() else { break };
                    self.bytes -= u64::from(slot.size);
                    segments.release(&slot);
                }
                gone = self.keep_recent(self.slots.len());
            }
            Effect::Vote(_) | Effect::Committed(_) | Effect::Removed | Effect::Synced => {}
        }
        self.outline.apply(effect);
        debug_assert_eq!(self.slots.len() as u64, self.outline.end - self.outline.first, "{effect:?}");
        gone
    }

    /// An entry that is held stands somewhere else from now on.
    fn place(&mut self, index: u64, to: Slot, segments: &mut Segments) {
        let at = index.checked_sub(self.outline.first).and_then(|at| usize::try_from(at).ok());
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            segments.release(slot);
            self.bytes = self.bytes - u64::from(slot.size) + u64::from(to.size);
            segments.hold(&to);
            *slot = to;
        }
    }

    /// As [`Self::place`], if it still stands where it was.
    pub(super) fn replace(&mut self, index: u64, from: Slot, to: Slot, segments: &mut Segments) -> bool {
        let is_there = self.slot(index) == Some(&from);
        if is_there {
            self.place(index, to, segments);
        }
        is_there
    }

    /// Keeps an entry at hand that was appended with this sequence number.
    pub(super) fn remember(&mut self, sequence: u64, entry: Entry) {
        self.recent.push_back((sequence, entry));
    }

    /// Lets go of entries at hand up to this sequence number; gives their bytes.
    pub(super) fn evict(&mut self, through: u64) -> u64 {
        let count = self.recent.iter().take_while(|(sequence, _)| *sequence <= through).count();
        self.keep_recent(self.recent.len() - count)
    }

    pub(super) fn is_at_hand(&self, sequence: u64) -> bool {
        self.recent.front().is_some_and(|(first, _)| *first <= sequence)
    }

    /// Drops everything; gives the bytes of the entries at hand.
    pub(super) fn clear(&mut self, segments: &mut Segments) -> u64 {
        self.drop_from(0, segments)
    }

    /// Drops the entries from `index` on; gives the bytes of those at hand.
    fn drop_from(&mut self, index: u64, segments: &mut Segments) -> u64 {
        let keep = usize::try_from(index.saturating_sub(self.outline.first)).unwrap_or(usize::MAX);
        let mut gone = 0;
        while self.slots.len() > keep {
            let Some(slot) = self.slots.pop_back() else { break };
            self.bytes -= u64::from(slot.size);
            segments.release(&slot);
            gone += self.recent.pop_back().map_or(0, |(_, entry)| entry.size());
        }
        gone
    }

    /// Keeps only the last `count` entries at hand; gives the bytes of the others.
    fn keep_recent(&mut self, count: usize) -> u64 {
        let mut gone = 0;
        while self.recent.len() > count {
            gone += self.recent.pop_front().map_or(0, |(_, entry)| entry.size());
        }
        if self.recent.is_empty() {
            self.recent = VecDeque::new();
        }
        gone
    }
}
