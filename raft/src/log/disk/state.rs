//! What the groups' handles and the committer share: all groups in memory, the queue between them, and how much room the
//! disk has for certain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::DiskLogOptions;
use super::group::GroupState;
use super::outline::Outline;
use super::queue::{Batch, Done, Frame, Op, Queue};
use super::record::{self, Effect};
use super::room::{Room, Use, Want};
use super::segment::{RECORD_MIN, Segments, Slot, header_bound};
use crate::env::Moment;
use crate::log::{Entry, Full};
use crate::types::GroupId;

/// Why nothing is accepted any more.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// Its owner closed it.
    Closed,
    /// A write or a sync failed: what is on disk is not known.
    Poisoned(Arc<str>),
}

impl End {
    pub(super) fn poisoned_by(error: &io::Error) -> End {
        End::Poisoned(error.to_string().into())
    }

    pub(super) fn error(&self) -> io::Error {
        match self {
            End::Closed => io::Error::other("the log is closed"),
            End::Poisoned(cause) => io::Error::other(format!("the log has failed and takes nothing any more: {cause}")),
        }
    }
}

/// Entries at hand, of all groups, oldest first. What is not at hand any more may still be listed.
#[derive(Default)]
struct Cache {
    order: VecDeque<(GroupId, u64)>,
    bytes: u64,
    entries: usize,
}

/// What a log has done and holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Segments on disk.
    pub segments: u64,
    /// Bytes of all segments, without space that is only allocated.
    pub bytes: u64,
    /// Bytes of live entries among them.
    pub live_bytes: u64,
    /// Bytes of recent entries in memory.
    pub cached_bytes: u64,
    /// Bytes written since the log was opened, and ...
    pub written_bytes: u64,
    /// ... how many of them were entries of old segments written again.
    pub rewritten_bytes: u64,
    /// Writes that the committer synced since the log was opened.
    pub syncs: u64,
    /// How long these syncs took together, and ...
    pub sync_time: Duration,
    /// ... the slowest of them. Election timeouts should be a multiple of what a sync may take.
    pub slowest_sync: Duration,
}

pub(super) struct State {
    pub(super) options: DiskLogOptions,
    pub(super) groups: BTreeMap<GroupId, GroupState>,
    pub(super) segments: Segments,
    pub(super) queue: Queue,
    pub(super) room: Room,
    pub(super) wants: VecDeque<Want>,
    cache: Cache,
    /// Groups whose committed index is not in the log yet.
    committed: BTreeSet<GroupId>,
    next_sequence: u64,
    written: u64,
    /// Why there is no room for another segment.
    pub(super) full: Option<Full>,
    /// When that was last looked at, and whether it is to be looked at again.
    pub(super) full_seen: Moment,
    pub(super) look_again: bool,
    pub(super) closing: bool,
    pub(super) end: Option<End>,
    pub(super) usage: Usage,
}

impl State {
    pub(super) fn new(
        options: DiskLogOptions,
        groups: BTreeMap<GroupId, GroupState>,
        segments: Segments,
        next_sequence: u64,
    ) -> Self {
        State {
            options,
            groups,
            segments,
            queue: Queue::default(),
            room: Room::default(),
            wants: VecDeque::new(),
            cache: Cache::default(),
            committed: BTreeSet::new(),
            next_sequence,
            written: next_sequence - 1,
            full: None,
            full_seen: Moment(Duration::ZERO),
            look_again: false,
            closing: false,
            end: None,
            usage: Usage::default(),
        }
    }

    /// An error if nothing is accepted any more.
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.end {
            Some(end) => Err(end.error()),
            None if self.closing => Err(End::Closed.error()),
            None => Ok(()),
        }
    }

    /// Whether so many bytes of a group may be queued now.
    pub(super) fn fits(&self, group: GroupId, bytes: u64, purpose: Use) -> bool {
        self.fits_behind(0, group, bytes, purpose)
    }

    /// As [`Self::fits`], behind so many bytes that are promised to others.
    pub(super) fn fits_behind(&self, promised: u64, group: GroupId, bytes: u64, purpose: Use) -> bool {
        let reserve = match purpose {
            Use::Entries => self.options.reserve_bytes,
            Use::Rewriting => self.options.reserve_bytes / 2,
            Use::Control => 0,
        };
        let queued = self.queue.len() + promised;
        let is_short = queued == 0 || purpose == Use::Control || queued + bytes <= self.options.queue_bytes;
        let groups = self.groups.len() + usize::from(!self.groups.contains_key(&group));
        is_short && queued + bytes + reserve <= self.room.most(groups)
    }

    /// Queues records; gives the first one's sequence number.
    fn push(&mut self, group: GroupId, frame: &Frame, from: Option<Slot>) -> u64 {
        let (first, start) = (self.next_sequence, self.queue.bytes.len());
        self.queue.bytes.extend_from_slice(&frame.bytes);
        let mut at = start;
        for (effect, length) in &frame.effects {
            record::number(&mut self.queue.bytes[at..], self.next_sequence);
            let (sequence, length, effect) = (self.next_sequence, *length, *effect);
            self.queue.ops.push(Op { group, effect, sequence, length, from });
            self.next_sequence += 1;
            at += length as usize;
        }
        first
    }

    /// Appends entries that the group accepts. They can be read at once.
    pub(super) fn append(&mut self, group: GroupId, entries: Vec<Entry>, frame: &Frame) {
        let first = self.push(group, frame, None);
        let state = self.groups.entry(group).or_default();
        for ((sequence, entry), (effect, length)) in (first..).zip(entries).zip(&frame.effects) {
            let (term, size) = (entry.id.term.0, entry.size());
            let slot = Slot { term, segment: 0, offset: sequence as u32, length: *length, size: size as u32 };
            self.cache.bytes -= state.apply(effect, slot, &mut self.segments);
            self.cache.bytes += size;
            self.cache.order.push_back((group, sequence));
            state.remember(sequence, entry);
        }
        self.evict();
    }

    /// Queues something that is no entry, and carries it out but for a vote, which counts once it is on disk.
    pub(super) fn record(&mut self, group: GroupId, frame: &Frame) {
        self.push(group, frame, None);
        let state = self.groups.entry(group).or_default();
        let nowhere = Slot { term: 0, segment: 0, offset: 0, length: 0, size: 0 };
        for (effect, _) in &frame.effects {
            match effect {
                Effect::Vote(_) => {}
                Effect::Removed => self.cache.bytes -= state.clear(&mut self.segments),
                effect => self.cache.bytes -= state.apply(effect, nowhere, &mut self.segments),
            }
        }
        if frame.effects.iter().any(|(effect, _)| *effect == Effect::Removed) {
            self.groups.remove(&group);
            self.committed.remove(&group);
        }
    }

    /// Remembers what is committed; it goes into the log with whatever is written next.
    pub(super) fn save_committed(&mut self, group: GroupId, committed: Option<crate::types::LogId>) {
        if let Some(state) = self.groups.get_mut(&group)
            && state.outline.committed != committed
        {
            state.outline.committed = committed;
            self.committed.insert(group);
        }
    }

    /// Queues an entry of an old segment once more, if it is still live there; false if there is no room.
    pub(super) fn rewrite(&mut self, group: GroupId, frame: &Frame, from: Slot) -> bool {
        let Some((Effect::Moved(id, _), _)) = frame.effects.first() else { return true };
        let held = self.groups.get(&group).and_then(|state| state.slot(id.index.0));
        let Some(held) = held.filter(|slot| (slot.segment, slot.offset) == (from.segment, from.offset)) else {
            return true;
        };
        let held = *held;
        if !self.fits(group, frame.bytes.len() as u64, Use::Rewriting) {
            return false;
        }
        self.push(group, frame, Some(held));
        self.usage.rewritten_bytes += frame.bytes.len() as u64;
        true
    }

    /// Takes all that is queued, and says where it is to go.
    pub(super) fn take_batch(&mut self, buffer: Vec<u8>) -> Batch {
        if !self.queue.ops.is_empty() || self.closing {
            self.push_committed();
        }
        let bytes = std::mem::replace(&mut self.queue.bytes, buffer);
        let length = bytes.len() as u64;
        let rolls = length > self.room.current;
        if rolls && let Some(spare) = self.room.spare.take() {
            self.room.current = Room::of_spare(spare, self.groups.len());
        }
        self.room.current = self.room.current.saturating_sub(length);
        let (ops, done) = (std::mem::take(&mut self.queue.ops), std::mem::take(&mut self.queue.done));
        Batch { bytes, ops, done, rolls }
    }

    fn push_committed(&mut self) {
        for group in std::mem::take(&mut self.committed) {
            let Some(committed) = self.groups.get(&group).map(|state| state.outline.committed) else { continue };
            if let Ok(frame) = Frame::of(group, Effect::Committed(committed))
                && self.fits(group, frame.bytes.len() as u64, Use::Entries)
            {
                self.push(group, &frame, None);
            }
        }
    }

    /// A batch was written at `offset` of a segment: its entries can be read from there.
    pub(super) fn written(&mut self, ops: &[Op], segment: u32, offset: u64) {
        let mut at = offset;
        for op in ops {
            let Op { group, effect, sequence, length, from } = op;
            if let Effect::Entry(id, size) | Effect::Moved(id, size) = effect
                && let Some(state) = self.groups.get_mut(group)
            {
                let to = Slot { term: id.term.0, segment, offset: at as u32, length: *length, size: *size };
                let from = from.unwrap_or(Slot { segment: 0, offset: *sequence as u32, ..to });
                state.replace(id.index.0, from, to, &mut self.segments);
            }
            at += u64::from(*length);
            self.written = *sequence;
        }
        if let Some(segment) = self.segments.0.get_mut(&segment) {
            segment.end = at;
        }
        self.usage.written_bytes += at - offset;
        self.evict();
    }

    /// A batch is on disk; its sync took so long.
    pub(super) fn synced(&mut self, ops: &[Op], took: Duration) {
        for op in ops {
            if let (Effect::Vote(vote), Some(state)) = (&op.effect, self.groups.get_mut(&op.group)) {
                state.outline.vote = Some(*vote);
            }
        }
        self.usage.syncs += 1;
        self.usage.sync_time += took;
        self.usage.slowest_sync = self.usage.slowest_sync.max(took);
    }

    /// Lets go of the oldest entries at hand until the rest is within its bound. What is not written stays.
    fn evict(&mut self) {
        while self.cache.bytes > self.options.cache_bytes
            && let Some((group, sequence)) = self.cache.order.front().copied()
            && sequence <= self.written
        {
            self.cache.order.pop_front();
            if let Some(state) = self.groups.get_mut(&group) {
                self.cache.bytes -= state.evict(sequence);
            }
        }
        // Purged entries are still listed; when they may be most of the list, they are sorted out.
        if self.cache.order.len() > 2 * self.cache.entries + 1024 {
            let groups = &self.groups;
            let is_there =
                |(group, sequence): &(GroupId, u64)| groups.get(group).is_some_and(|state| state.is_at_hand(*sequence));
            self.cache.order.retain(is_there);
            self.cache.entries = self.cache.order.len();
        }
    }

    /// How large the next segment's file should be, whoever waits.
    pub(super) fn spare_needed(&self) -> u64 {
        self.options.segment_bytes + header_bound(self.groups.len()) + RECORD_MIN
    }

    /// How large it must be for those who wait, too.
    pub(super) fn spare_wanted(&self) -> u64 {
        let wanted = self.wants.iter().map(|want| want.bytes + self.options.reserve_bytes).max();
        let groups = self.groups.len() + self.wants.len();
        self.options.segment_bytes.max(wanted.unwrap_or(0)) + header_bound(groups) + RECORD_MIN
    }

    /// Whether the next segment's file is there, and about as large as it should be.
    pub(super) fn has_spare(&self) -> bool {
        let least = self.spare_needed() - self.options.segment_bytes / 2;
        self.room.spare.is_some_and(|spare| spare >= least)
    }

    /// Whether somebody waits who will not be helped by waiting for the queue.
    pub(super) fn is_short(&self) -> bool {
        self.queue.is_empty() && self.wants.iter().any(|want| !self.fits(want.group, want.bytes, want.purpose))
    }

    pub(super) fn usage(&self) -> Usage {
        let (bytes, live_bytes) = self.segments.bytes();
        Usage {
            segments: self.segments.0.len() as u64,
            bytes,
            live_bytes,
            cached_bytes: self.cache.bytes,
            ..self.usage
        }
    }

    /// Nothing is accepted from now on; gives those who wait.
    pub(super) fn finish(&mut self, end: End) -> (Vec<Done>, VecDeque<Want>) {
        self.end.get_or_insert(end);
        self.queue.bytes = Vec::new();
        self.queue.ops = Vec::new();
        (std::mem::take(&mut self.queue.done), std::mem::take(&mut self.wants))
    }
}

/// The outlines of all groups.
pub(super) fn outlines(groups: &BTreeMap<GroupId, GroupState>) -> BTreeMap<GroupId, Outline> {
    groups.iter().map(|(group, state)| (*group, state.outline.clone())).collect()
}
