//! One group's [`LogStore`] in the shared log.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::group::GroupState;
use super::log::DiskLog;
use super::queue::{Done, Frame};
use super::record::{Effect, Record, decode_entry};
use super::room::Use;
use super::segment::{Segment, Slot};
use super::state::State;
use crate::fs::{Damaged, File, read_exact_at};
use crate::log::{Entry, Flushed, Full, LogState, LogStore, Payload};
use crate::planted::{self, Bug};
use crate::types::{GroupId, Index, LogId, Vote};

/// How often at most a full disk is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Entries of one segment are read together if they stand this close, ...
const GAP: u64 = 16 << 10;

/// ... up to so many bytes.
const SPAN: u64 = 1 << 20;

/// A group's part of a [`DiskLog`].
pub(super) struct GroupLog {
    pub(super) log: Arc<DiskLog>,
    pub(super) group: GroupId,
}

impl GroupLog {
    /// Queues a record unless there is nothing to do.
    async fn record(&self, effect: Effect, is_needed: impl FnOnce(&State) -> bool + Send) -> io::Result<()> {
        let frame = Frame::of(self.group, effect)?;
        let queue = |state: &mut State| {
            if is_needed(state) {
                state.record(self.group, &frame);
            }
            Ok(())
        };
        self.log.shared.enqueue(self.group, frame.bytes.len() as u64, Use::Control, queue).await
    }
}

/// Where an entry is to be had from.
enum Place {
    AtHand(Entry),
    OnDisk(Index, Slot),
}

/// Entries of one segment that are read together.
struct Run {
    file: Arc<dyn File>,
    path: Arc<std::path::Path>,
    salt: u64,
    slots: Vec<(Index, Slot)>,
}

impl Run {
    fn of(segment: &Segment, slots: Vec<(Index, Slot)>) -> Self {
        Run { file: Arc::clone(&segment.file), path: Arc::clone(&segment.path), salt: segment.salt, slots }
    }

    fn read(&self, group: GroupId, into: &mut Vec<Entry>) -> io::Result<()> {
        let start = self.slots.first().map_or(0, |(_, slot)| u64::from(slot.offset));
        let end = self.slots.last().map_or(start, |(_, slot)| u64::from(slot.offset) + u64::from(slot.length));
        let mut bytes = vec![0; (end - start) as usize];
        read_exact_at(&*self.file, &mut bytes, start)?;
        for (index, slot) in &self.slots {
            let offset = u64::from(slot.offset);
            let damaged = |what: String| Damaged::new(&self.path, offset, format!("entry {index} of {group}: {what}"));
            let record = Record::parse(&bytes[(offset - start) as usize..], self.salt);
            let record = record.ok_or_else(|| damaged("cannot be read".into()))?;
            let entry = decode_entry(&record).map_err(damaged)?;
            if (record.group, entry.id.index, entry.id.term.0) != (group, *index, slot.term) {
                return Err(damaged(format!("{} of {} in its place", entry.id, record.group)).into());
            }
            into.push(entry);
        }
        Ok(())
    }
}

/// Puts entries on disk together that are read together; those at hand come last.
fn plan(state: &State, group: GroupId, from: u64, to: u64) -> io::Result<(Vec<Run>, Vec<Entry>)> {
    let (mut runs, mut at_hand): (Vec<Run>, Vec<Entry>) = Default::default();
    let Some(held) = state.groups.get(&group) else { return Ok((runs, at_hand)) };
    let mut open: Option<(u32, u64, u64)> = None;
    for index in from.max(held.outline.first)..to.min(held.outline.end) {
        let place = match (held.recent(index), held.slot(index)) {
            (Some(entry), _) => Place::AtHand(entry.clone()),
            (None, Some(slot)) => Place::OnDisk(Index(index), *slot),
            (None, None) => break,
        };
        match place {
            Place::AtHand(entry) => at_hand.push(entry),
            Place::OnDisk(index, slot) => {
                let (offset, end) = (u64::from(slot.offset), u64::from(slot.offset) + u64::from(slot.length));
                let goes_on = open.is_some_and(|(segment, first, last)| {
                    segment == slot.segment && offset >= last && offset - last <= GAP && end - first <= SPAN
                });
                if let (true, Some(run)) = (goes_on, runs.last_mut()) {
                    run.slots.push((index, slot));
                    open = open.map(|(segment, first, _)| (segment, first, end));
                } else {
                    let segment = state.segments.0.get(&slot.segment);
                    let segment = segment.ok_or_else(|| io::Error::other(format!("{index} of {group} is nowhere")))?;
                    runs.push(Run::of(segment, vec![(index, slot)]));
                    open = Some((slot.segment, offset, end));
                }
            }
        }
    }
    Ok((runs, at_hand))
}

#[async_trait::async_trait]
impl LogStore for GroupLog {
    async fn state(&self) -> io::Result<LogState> {
        let state = self.log.shared.usable()?;
        let Some(group) = state.groups.get(&self.group) else { return Ok(LogState::default()) };
        Ok(LogState { purged: group.outline.purged, last: group.last() })
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        let (runs, at_hand) = plan(&*self.log.shared.usable()?, self.group, from.0, to.0)?;
        if runs.is_empty() {
            return Ok(at_hand);
        }
        let mut entries = Vec::new();
        for run in runs {
            run.read(self.group, &mut entries)?;
        }
        entries.extend(at_hand);
        Ok(entries)
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        let Some(start) = entries.first().map(|entry| entry.id.index.0) else {
            let queue = |state: &mut State| {
                state.queue.done.push(Done::Flushed(flushed));
                Ok(())
            };
            return self.log.shared.enqueue(self.group, 0, Use::Entries, queue).await;
        };
        if let Some((at, stray)) = (start..).zip(&entries).find(|(at, entry)| entry.id.index.0 != *at) {
            return Err(io::Error::other(format!("append of {} where {at} was due", stray.id)));
        }
        let has_writes = entries.iter().any(|entry| matches!(entry.payload, Payload::Writes(_)));
        let frame = Frame::entries(self.group, &entries)?;
        let queue = |state: &mut State| {
            if let Some(held) = state.groups.get(&self.group).filter(|held| !held.outline.accepts(start)) {
                let (first, end) = (held.outline.first, held.outline.end);
                return Err(io::Error::other(format!("append of {start} to a log of {first}..{end}")));
            }
            state.append(self.group, entries, &frame);
            state.queue.done.push(Done::Flushed(flushed));
            Ok(())
        };
        // A new leader's first entry and a change of members are small, and help a group whose disk is full.
        let purpose = if has_writes { Use::Entries } else { Use::Control };
        self.log.shared.enqueue(self.group, frame.bytes.len() as u64, purpose, queue).await
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        let is_needed = |state: &State| {
            let held = state.groups.get(&self.group);
            held.is_some_and(|held| held.outline.bound(last) < held.outline.end)
        };
        self.record(Effect::Truncate(last), is_needed).await
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        let last = || self.log.shared.state().groups.get(&self.group).and_then(GroupState::last);
        let through = if planted::is(Bug::PurgeTooFar) { last().unwrap_or(through) } else { through };
        let is_needed = |state: &State| {
            let outline = state.groups.get(&self.group).map(|held| &held.outline);
            outline.is_none_or(|outline| outline.purged < Some(through) || outline.bound(Some(through)) > outline.first)
        };
        self.record(Effect::Purge(through), is_needed).await
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        let frame = Frame::of(self.group, Effect::Vote(vote))?;
        let (waiter, saved) = oneshot::channel();
        let queue = |state: &mut State| {
            state.record(self.group, &frame);
            state.queue.done.push(Done::Waiter(waiter));
            Ok(())
        };
        self.log.shared.enqueue(self.group, frame.bytes.len() as u64, Use::Control, queue).await?;
        saved.await.unwrap_or_else(|_| Err(io::Error::other("the log dropped a vote")))
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        let state = self.log.shared.usable()?;
        Ok(state.groups.get(&self.group).and_then(|held| held.outline.vote))
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.log.shared.usable()?.save_committed(self.group, committed);
        Ok(())
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        let state = self.log.shared.usable()?;
        Ok(state.groups.get(&self.group).and_then(|held| held.outline.committed))
    }

    fn bytes(&self) -> u64 {
        self.log.shared.state().groups.get(&self.group).map_or(0, |held| held.bytes)
    }

    fn admits(&self, _bytes: u64) -> Result<(), Full> {
        let shared = &self.log.shared;
        let mut state = shared.state();
        let Some(full) = state.full.clone() else { return Ok(()) };
        let now = shared.env.now();
        if now.since(state.full_seen) >= LOOK_AGAIN {
            state.full_seen = now;
            state.look_again = true;
            drop(state);
            shared.wanted.notify_one();
        }
        Err(full)
    }
}
