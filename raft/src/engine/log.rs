//! openraft's log storage over the [`LogStore`] port.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::types::{RaftLogId, RaftVote, TypeConfig, log_id_from, log_id_into, vote_from, vote_into};
use crate::log::{Entry, Flushed, LogStore};
use crate::types::Index;

/// One replica's log as openraft sees it; clones are readers of the same log.
#[derive(Clone)]
pub(crate) struct LogAdapter(pub(crate) Arc<dyn LogStore>);

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
        self.0.read(Index(from), Index(to)).await
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, io::Error> {
        Ok(self.0.vote().await?.map(vote_into))
    }
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.0.state().await?;
        Ok(LogState { last_purged_log_id: state.purged.map(log_id_into), last_log_id: state.last.map(log_id_into) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), io::Error> {
        self.0.save_vote(vote_from(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), io::Error> {
        self.0.save_committed(committed.map(log_id_from)).await
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, io::Error> {
        Ok(self.0.committed().await?.map(log_id_into))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let flushed = Flushed::new(move |result| callback.io_completed(result));
        self.0.append(entries.into_iter().collect(), flushed).await
    }

    async fn truncate_after(&mut self, last: Option<RaftLogId>) -> Result<(), io::Error> {
        self.0.truncate_after(last.map(log_id_from)).await
    }

    async fn purge(&mut self, through: RaftLogId) -> Result<(), io::Error> {
        self.0.purge(log_id_from(through)).await
    }
}
