//! Reads on a replica: the index that an answer has to reflect, and answers from what is applied.

use std::time::Duration;

use openraft::errors::{LinearizableReadError, RaftError};
use openraft::raft::ReadPolicy;
use openraft::raft::linearizable_read::LinearizerOption;

use super::{NotHere, Replica, forwarded};
use crate::group::Status;
use crate::machine::{Machine, Undecodable};
use crate::planted::{self, Bug};
use crate::transport::ReadIndex;
use crate::types::Index;

impl Replica {
    /// A read index that reflects everything acknowledged before the call; a quorum confirms this leader after it.
    pub(crate) async fn read_index(&self, wait: Duration) -> Result<ReadIndex, NotHere> {
        if planted::is(Bug::UnconfirmedReadIndex) {
            return self.believed_index();
        }
        self.read_log_id(LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(wait)).await
    }

    /// A read index on the strength of the lease, less the margin for drifting clocks.
    pub(crate) async fn lease_index(&self) -> Result<ReadIndex, NotHere> {
        if planted::is(Bug::LeaseUnchecked) {
            return self.believed_index();
        }
        self.read_log_id(LinearizerOption::new(Some(self.lease), false).with_wait_timeout(Duration::ZERO)).await
    }

    /// What some planted bugs take for a read index: all that this node has committed, if it believes that it leads.
    fn believed_index(&self) -> Result<ReadIndex, NotHere> {
        let Status { leadership, committed, .. } = self.status();
        if leadership.leader != Some(self.node) {
            return Err(NotHere::Leader(leadership.leader));
        }
        Ok(ReadIndex { term: leadership.term, index: committed.map(|id| id.index) })
    }

    async fn read_log_id(&self, option: LinearizerOption) -> Result<ReadIndex, NotHere> {
        match self.raft.get_read_log_id(option).await {
            Ok((id, _)) => Ok(ReadIndex { term: *id.committed_leader_id(), index: Some(Index(id.index())) }),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => Err(forwarded(&forward)),
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error))) => {
                Err(NotHere::NotReady(error.to_string()))
            }
            Err(RaftError::Fatal(fatal)) => Err(NotHere::Stopped(self.fatal(&fatal))),
        }
    }

    /// The last applied index.
    pub(crate) fn applied(&self) -> Option<Index> {
        self.shared.applied.get()
    }

    /// Waits until `index` is applied here; for ever if the replica stops.
    pub(crate) async fn reach(&self, index: Option<Index>) {
        if let Some(index) = index {
            self.shared.applied.reach(index).await;
        }
    }

    /// Answers from what is applied, together with the index that the answer reflects.
    pub(crate) fn query(&self, query: &[u8]) -> (Option<Index>, Result<bytes::Bytes, Undecodable>) {
        let state = self.shared.read();
        let answer = state.query(query);
        self.shared.stop_on_fault(&state);
        (state.last.map(|id| id.index), answer)
    }

    /// Runs `look` on the machine, together with the index that it reflects. Applies wait meanwhile.
    pub(crate) fn with_machine<T>(
        &self,
        look: impl FnOnce(&dyn Machine) -> T,
    ) -> (Option<Index>, Result<T, Undecodable>) {
        let state = self.shared.read();
        let seen = state.look(look);
        self.shared.stop_on_fault(&state);
        (state.last.map(|id| id.index), seen)
    }

    /// How many sessions are open, as far as is applied.
    pub(crate) fn sessions(&self) -> usize {
        self.shared.read().sessions()
    }
}
