//! openraft's log storage over the [`LogStore`] port.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;

use super::types::{RaftLogId, RaftVote, TypeConfig, log_id_from, log_id_into, vote_from, vote_into};
use super::unflushed::Unflushed;
use crate::log::{Entry, Flushed, LogStore};
use crate::types::Index;

/// How long replication waits for a flush at a stretch: it sees no other event meanwhile, a new leader for one.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);

/// About how many bytes of entries are sent to a follower in one message, unless a single entry has more.
const MESSAGE_BYTES: u64 = 1 << 20;

/// One replica's log as openraft sees it; clones are readers of the same log.
#[derive(Clone)]
pub(crate) struct LogAdapter {
    store: Arc<dyn LogStore>,
    /// Kept only where no entry may be sent before it is flushed.
    unflushed: Option<Arc<Unflushed>>,
    /// So many entries are read for one message: more than it will hold would be read in vain.
    appetite: u64,
}

impl LogAdapter {
    /// With `flush_before_send`, replication is handed no entry that is not flushed here.
    pub(crate) fn new(store: Arc<dyn LogStore>, flush_before_send: bool) -> Self {
        LogAdapter { store, unflushed: flush_before_send.then(|| Arc::new(Unflushed::new())), appetite: u64::MAX }
    }

    /// Reads only what is flushed, and waits for that; nothing when it takes too long.
    async fn read_flushed(&self, unflushed: &Unflushed, from: u64, to: u64) -> io::Result<Vec<Entry>> {
        if from >= to {
            return Ok(Vec::new());
        }
        loop {
            if TypeConfig::timeout(FLUSH_PATIENCE, unflushed.flushed(from)).await.is_err() {
                return Ok(Vec::new());
            }
            let flushed = to.min(unflushed.limit());
            if flushed <= from {
                continue;
            }
            let mut entries = self.store.read(Index(from), Index(flushed)).await?;
            let holds_any = !entries.is_empty();
            // Once more: what was flushed may have been replaced between the two steps.
            let limit = unflushed.limit();
            entries.retain(|entry| entry.id.index.0 < limit);
            if !holds_any || !entries.is_empty() {
                return Ok(entries);
            }
        }
    }
}

impl RaftLogReader<TypeConfig> for LogAdapter {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.store.read(Index(from), Index(to)).await
    }

    /// What replication reads by, and nothing else does. An empty answer makes it send a message without entries, and
    /// come back.
    async fn limited_get_log_entries(&mut self, from: u64, to: u64) -> Result<Vec<Entry>, io::Error> {
        let to = to.min(from.saturating_add(self.appetite));
        let mut entries = match &self.unflushed {
            Some(unflushed) => self.read_flushed(unflushed, from, to).await?,
            // In one go: between two of them the log may change its mind about the entries in the middle.
            None => self.store.read(Index(from), Index(to)).await?,
        };
        let fitting = fitting(&entries);
        self.appetite = if fitting < entries.len() { fitting as u64 } else { self.appetite }.saturating_mul(2);
        entries.truncate(fitting);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.store.vote().await?.map(vote_into))
    }
}

/// How many of `entries` one message carries.
fn fitting(entries: &[Entry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&Entry| {
        bytes += entry.size();
        bytes <= MESSAGE_BYTES
    };
    entries.iter().take_while(fits).count().max(entries.len().min(1))
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.store.state().await?;
        Ok(LogState { last_purged_log_id: state.purged.map(log_id_into), last_log_id: state.last.map(log_id_into) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.store.save_vote(vote_from(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.store.save_committed(committed.map(log_id_from)).await
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.store.committed().await?.map(log_id_into))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let watched = self.unflushed.as_ref().zip(entries.first());
        let ticket = watched.map(|(unflushed, first)| (Arc::clone(unflushed), unflushed.begin(first.id.index.0)));
        let flushed = Flushed::new(move |result| {
            if let (Ok(()), Some((unflushed, ticket))) = (&result, ticket) {
                unflushed.end(ticket);
            }
            callback.io_completed(result);
        });
        self.store.append(entries, flushed).await
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        self.store.truncate_after(last.map(log_id_from)).await
    }

    async fn purge(&mut self, through: RaftLogId) -> Result<(), io::Error> {
        self.store.purge(log_id_from(through)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Action, MemoryLog, Payload, Proposal, Write};
    use crate::types::{LogId, LogTime, Term};

    fn entry(index: u64, bytes: usize) -> Entry {
        let write = Write { session: None, action: Action::Apply(vec![0; bytes].into()) };
        let proposal = Proposal { stamped: LogTime(0), writes: vec![write] };
        Entry { id: LogId { term: Term(1), index: Index(index) }, payload: Payload::Writes(Arc::new(proposal)) }
    }

    #[tokio::test]
    async fn a_message_carries_a_bounded_part_of_the_log_and_nothing_is_left_out() {
        let store = Arc::new(MemoryLog::new());
        let sizes = [10, 400 << 10, 400 << 10, 400 << 10, 5 << 20, 10, 10, 10];
        let entries = (0..).zip(sizes).map(|(index, size)| entry(index, size)).collect();
        store.append(entries, Flushed::new(|_| ())).await.unwrap();
        let mut reader = LogAdapter::new(store, false);
        let mut next = 0;
        let mut counts = Vec::new();
        while next < sizes.len() as u64 {
            let read = reader.limited_get_log_entries(next, sizes.len() as u64).await.unwrap();
            assert!(read.iter().zip(next..).all(|(entry, index)| entry.id.index.0 == index));
            counts.push(read.len());
            next += read.len() as u64;
        }
        assert_eq!(counts, [3, 1, 1, 2, 1], "the large one goes alone, and then it takes a while to trust again");
    }
}
