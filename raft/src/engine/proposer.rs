//! From callers to the consensus core: writes that come at about the same time are proposed together, as one entry.
//!
//! Promises: each write has an outcome of its own; those of one call stay in order; one whose caller gave up before it
//! was proposed is not proposed.
//! How: the first to come wakes a task, and before that looks, everybody else who is ready to run has had a turn. So the
//! cost of an entry (append, replication, apply) is shared by many writes under load, and a lone write waits for nobody.

use std::iter::Peekable;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::Histogram;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::{Notify, oneshot};

use super::replica::{NotHere, Raft, forwarded};
use super::types::{Answer, Outcome, TypeConfig, log_id_from};
use crate::env::Env;
use crate::error::{Fatal, Rejected, Unknown, WriteError};
use crate::log::{Proposal, Write};
use crate::sessions::Refusal;
use crate::transport::{WriteOutcome, WriteResult};
use crate::types::LogId;

/// Writes in one entry, at most.
const WRITES_MAX: usize = 1024;

/// About how many bytes of writes are in one entry, at most, unless a single write has more.
const BYTES_MAX: u64 = 256 << 10;

/// What became of a write: the outcome of what was proposed, or why it was not.
pub(crate) type Proposed = Result<WriteResult, NotHere>;

type Waiting = (Write, oneshot::Sender<Proposed>);

/// Where writes wait to be proposed.
#[derive(Default)]
pub(super) struct Proposer {
    queue: Mutex<Queue>,
    wanted: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    stopped: Option<Fatal>,
}

impl Proposer {
    /// Starts to propose what is submitted, until it is stopped.
    pub(super) fn start(raft: Raft, env: Arc<dyn Env>, per_entry: Histogram) -> Arc<Proposer> {
        let proposer = Arc::<Proposer>::default();
        let task = Arc::clone(&proposer).run(raft, Arc::clone(&env), per_entry);
        env.spawn(Box::pin(task));
        proposer
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has `writes` proposed in their order.
    pub(super) fn submit(&self, writes: impl IntoIterator<Item = Waiting>) {
        let mut queue = self.queue();
        if let Some(fatal) = &queue.stopped {
            for (_, answer) in writes {
                let _ = answer.send(Err(NotHere::Stopped(fatal.clone())));
            }
            return;
        }
        let first = queue.waiting.is_empty();
        queue.waiting.extend(writes);
        drop(queue);
        if first {
            self.wanted.notify_one();
        }
    }

    /// Ends the task. What waits, and what comes later, is refused.
    pub(super) fn stop(&self, fatal: Fatal) {
        let mut queue = self.queue();
        let waiting = std::mem::take(&mut queue.waiting);
        queue.stopped.get_or_insert(fatal.clone());
        drop(queue);
        self.wanted.notify_one();
        for (_, answer) in waiting {
            let _ = answer.send(Err(NotHere::Stopped(fatal.clone())));
        }
    }

    async fn run(self: Arc<Self>, raft: Raft, env: Arc<dyn Env>, per_entry: Histogram) {
        loop {
            self.wanted.notified().await;
            tokio::task::yield_now().await;
            let waiting = {
                let mut queue = self.queue();
                if queue.stopped.is_some() {
                    return;
                }
                // The next ones will be about as many.
                let room = Vec::with_capacity(queue.waiting.len());
                std::mem::replace(&mut queue.waiting, room)
            };
            let mut waiting = waiting.into_iter().peekable();
            while let Some((writes, answers)) = next_entry(&mut waiting) {
                #[allow(clippy::cast_precision_loss)]
                per_entry.record(writes.len() as f64);
                propose(&raft, Proposal { stamped: env.wall(), writes }, answers).await;
            }
        }
    }
}

/// The next writes that go into one entry, and who waits for them.
fn next_entry(
    waiting: &mut Peekable<impl ExactSizeIterator<Item = Waiting>>,
) -> Option<(Vec<Write>, Vec<oneshot::Sender<Proposed>>)> {
    let count = waiting.len().min(WRITES_MAX);
    let (mut writes, mut answers) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let mut bytes = 0;
    while let Some((write, answer)) = waiting
        .next_if(|(write, _)| writes.is_empty() || (writes.len() < WRITES_MAX && bytes + write.size() <= BYTES_MAX))
    {
        if !answer.is_closed() {
            bytes += write.size();
            writes.push(write);
            answers.push(answer);
        }
    }
    (!writes.is_empty()).then_some((writes, answers))
}

async fn propose(raft: &Raft, proposal: Proposal, answers: Vec<oneshot::Sender<Proposed>>) {
    let answers = Arc::new(Mutex::new(answers));
    let answer = {
        let answers = Arc::clone(&answers);
        Answer::new(move |result| give(take(&answers), result))
    };
    if let Err(fatal) = raft.client_write_ff(Arc::new(proposal), Some(answer)).await {
        let fatal = Fatal(fatal.to_string());
        for answer in take(&answers) {
            let _ = answer.send(Err(NotHere::Stopped(fatal.clone())));
        }
    }
}

fn take<T>(list: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Gives each writer its outcome. One that has given up waiting does not want it.
fn give(answers: Vec<oneshot::Sender<Proposed>>, result: ClientWriteResult<TypeConfig>) {
    match result {
        Ok(response) => {
            let at = log_id_from(response.log_id);
            for (answer, outcome) in answers.into_iter().zip(response.data.0) {
                let _ = answer.send(Ok(outcome_of(at, outcome)));
            }
        }
        Err(error) => {
            let failed = failed(&error);
            for answer in answers {
                let _ = answer.send(failed.clone());
            }
        }
    }
}

/// Tells a refusal before the append, which is definite, from an outcome.
fn failed(error: &ClientWriteError<TypeConfig>) -> Proposed {
    match error {
        ClientWriteError::ForwardToLeader(forward) => Err(forwarded(forward)),
        ClientWriteError::LogEntryDiscarded(_) => Ok(Err(Unknown::LeaderLost.into())),
        error => Ok(Err(Rejected::Invalid(error.to_string()).into())),
    }
}

fn outcome_of(at: LogId, outcome: Outcome) -> Result<WriteOutcome, WriteError> {
    match outcome {
        Outcome::Opened => Ok(WriteOutcome { at, reply: bytes::Bytes::new(), replayed: false }),
        Outcome::Applied(reply) => Ok(WriteOutcome { at, reply, replayed: false }),
        Outcome::Replayed(reply) => Ok(WriteOutcome { at, reply, replayed: true }),
        // The command was not carried out now; whether it was before, a forgotten reply cannot tell.
        Outcome::Refused(Refusal::Reused) => Err(Rejected::Session(Refusal::Reused).into()),
        Outcome::Refused(refusal) => Err(Unknown::Session(refusal).into()),
        Outcome::Undecodable(text) => Err(Rejected::Invalid(text).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Action;

    fn waiting(sizes: &[usize]) -> (Vec<Waiting>, Vec<oneshot::Receiver<Proposed>>) {
        let one = |size: &usize| {
            let (sender, receiver) = oneshot::channel();
            ((Write { session: None, action: Action::Apply(vec![0; *size].into()) }, sender), receiver)
        };
        sizes.iter().map(one).unzip()
    }

    fn entries(waiting: Vec<Waiting>) -> Vec<Vec<u64>> {
        let mut waiting = waiting.into_iter().peekable();
        let sizes = |writes: Vec<Write>| writes.iter().map(Write::size).collect();
        std::iter::from_fn(|| next_entry(&mut waiting)).map(|(writes, _)| sizes(writes)).collect()
    }

    #[test]
    fn an_entry_is_bounded_in_writes_and_in_bytes_but_takes_one_write_however_large() {
        let (many, _receivers) = waiting(&[1; WRITES_MAX + 1]);
        assert_eq!(entries(many).iter().map(Vec::len).collect::<Vec<_>>(), [WRITES_MAX, 1]);
        let max = BYTES_MAX as usize;
        let (large, _receivers) = waiting(&[10, max * 2, max - 1, 1, 1]);
        assert_eq!(entries(large), [vec![10], vec![max as u64 * 2], vec![max as u64 - 1, 1], vec![1]]);
    }

    #[test]
    fn a_write_whose_caller_gave_up_is_not_proposed() {
        let (writes, mut receivers) = waiting(&[1, 2, 3]);
        receivers.remove(1);
        assert_eq!(entries(writes), [vec![1, 3]]);
        let (writes, receivers) = waiting(&[1, 2]);
        drop(receivers);
        assert_eq!(entries(writes), Vec::<Vec<u64>>::new());
    }

    #[tokio::test]
    async fn a_stopped_proposer_refuses_what_waits_and_what_comes() {
        let proposer = Proposer::default();
        let (early, receivers) = waiting(&[1]);
        proposer.submit(early);
        proposer.stop(Fatal("over".into()));
        let (late, more) = waiting(&[1]);
        proposer.submit(late);
        for receiver in receivers.into_iter().chain(more) {
            assert!(matches!(receiver.await, Ok(Err(NotHere::Stopped(_)))));
        }
    }
}
