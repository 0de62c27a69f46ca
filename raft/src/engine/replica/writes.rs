//! What is proposed on a replica, and what it takes to be proposed.

use tokio::sync::oneshot;

use super::Replica;
use crate::engine::proposer::Proposed;
use crate::error::{Rejected, Unknown, WriteError};
use crate::log::{Full, Write};
use crate::machine::{CommandVersion, Versions};
use crate::types::Index;

impl Replica {
    /// Whether about so many bytes of writes may be proposed, or accepted from a leader, as far as the log's disk goes.
    pub(crate) fn admits(&self, bytes: u64) -> Result<(), Rejected> {
        self.log.admits(bytes).map_err(|Full(text)| Rejected::DiskFull(text))
    }

    /// Whether commands may be proposed, as far as their version goes.
    pub(crate) fn is_fit(&self) -> Result<(), Rejected> {
        if self.shared.is_fit() {
            return Ok(());
        }
        let text = format!("{} of the commands is in force, and none of its own", self.version_in_force());
        Err(Rejected::LeaderNotReady(text))
    }

    /// The version of commands that is in force here.
    pub(crate) fn version_in_force(&self) -> CommandVersion {
        self.shared.read().version().0
    }

    /// The versions of commands that its machine can apply.
    pub(crate) fn versions(&self) -> Versions {
        self.shared.read().versions()
    }

    /// Whether its machine has a digest of its state.
    pub(crate) fn has_digest(&self) -> bool {
        self.shared.read().digest().is_some()
    }

    /// The digest of the state at the entry at `index`, where one was asked for; waits for ever if there will be none.
    pub(crate) async fn digest_at(&self, index: Index) -> Option<u64> {
        self.shared.digests.at(index).await
    }

    /// Has `write` proposed, together with whatever else is to be proposed now, and waits for its outcome. Whoever gives up
    /// before that has nothing proposed; afterwards the write may still be carried out.
    pub(crate) async fn propose(&self, write: Write) -> Result<Proposed, oneshot::error::RecvError> {
        let (sender, receiver) = oneshot::channel();
        self.proposer.submit(write, sender).await;
        receiver.await
    }

    /// Has `writes` proposed in their order; each has an outcome of its own.
    pub(crate) fn propose_many(&self, writes: impl IntoIterator<Item = Write>) -> Vec<oneshot::Receiver<Proposed>> {
        let (queued, receivers): (Vec<_>, _) = writes
            .into_iter()
            .map(|write| {
                let (sender, receiver) = oneshot::channel();
                ((write, sender), receiver)
            })
            .unzip();
        self.proposer.submit_many(queued);
        receivers
    }

    /// What to say of a proposal whose answer the core dropped.
    pub(crate) fn lost(&self) -> WriteError {
        match &self.leadership.borrow().stopped {
            Some(fatal) => fatal.clone().into(),
            None => Unknown::AnswerLost("the replica was shut down".into()).into(),
        }
    }
}
