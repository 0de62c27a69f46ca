//! The log in memory: nothing is flushed because nothing can be lost that the process outlives.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Entry, Flushed, LogState, LogStore};
use crate::types::{Index, LogId, Vote};

/// A [`LogStore`] in memory. Clones share the log: what one life of a replica appended, the next one finds.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog(Arc<Mutex<State>>);

/// Invariant: the indexes of `entries` follow each other, and the first follows `purged`.
#[derive(Debug, Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl State {
    /// The index that stands (or would stand) at the front of `entries`.
    fn first(&self) -> u64 {
        match (self.entries.front(), self.purged) {
            (Some(entry), _) => entry.id.index.0,
            (None, Some(purged)) => purged.index.0 + 1,
            (None, None) => 0,
        }
    }

    /// Where `index` stands in `entries`, bounded by both ends.
    fn offset(&self, index: u64) -> usize {
        (index.saturating_sub(self.first()) as usize).min(self.entries.len())
    }

    fn keep_before(&mut self, index: u64) {
        let keep = self.offset(index);
        for dropped in self.entries.drain(keep..) {
            self.bytes -= dropped.size();
        }
    }

    /// Appends all of `entries` or, when they do not fit, nothing.
    fn append(&mut self, entries: Vec<Entry>) -> io::Result<()> {
        let Some(start) = entries.first().map(|entry| entry.id.index.0) else { return Ok(()) };
        if let Some((at, stray)) = (start..).zip(&entries).find(|(at, entry)| entry.id.index.0 != *at) {
            return Err(io::Error::other(format!("append of {} where {at} was due", stray.id)));
        }
        if !self.entries.is_empty() || self.purged.is_some() {
            let (first, end) = (self.first(), self.first() + self.entries.len() as u64);
            if start < first || start > end {
                return Err(io::Error::other(format!("append of {start} to a log of {first}..{end}")));
            }
            self.keep_before(start);
        }
        self.bytes += entries.iter().map(Entry::size).sum::<u64>();
        self.entries.extend(entries);
        Ok(())
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    fn state_mut(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl LogStore for MemoryLog {
    async fn state(&self) -> io::Result<LogState> {
        let state = self.state_mut();
        let last = state.entries.back().map(|entry| entry.id).or(state.purged);
        Ok(LogState { purged: state.purged, last })
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        let state = self.state_mut();
        let (from, to) = (state.offset(from.0), state.offset(to.0));
        Ok(state.entries.range(from..to.max(from)).cloned().collect())
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        self.state_mut().append(entries)?;
        flushed.complete(Ok(()));
        Ok(())
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.state_mut().keep_before(last.map_or(0, |id| id.index.0 + 1));
        Ok(())
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        let mut state = self.state_mut();
        let drop = state.offset(through.index.0 + 1);
        let dropped: u64 = state.entries.drain(..drop).map(|entry| entry.size()).sum();
        state.bytes -= dropped;
        state.purged = state.purged.max(Some(through));
        Ok(())
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.state_mut().vote = Some(vote);
        Ok(())
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        Ok(self.state_mut().vote)
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.state_mut().committed = committed;
        Ok(())
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        Ok(self.state_mut().committed)
    }

    fn bytes(&self) -> u64 {
        self.state_mut().bytes
    }
}
