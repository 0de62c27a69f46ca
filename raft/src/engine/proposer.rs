//! From callers to the consensus core: writes that come at about the same time are proposed together, as one entry.
//!
//! Promises: each write has an outcome of its own; those of one call stay in order; one whose caller gave up before it
//! was proposed is not proposed.
//! How: the first to come wakes a task, and before that looks, everybody else who is ready to run has had a turn. So the
//! cost of an entry (append, replication, apply) is shared by many writes under load. A lone writer, who finds nothing under
//! way and was not preceded by a crowd, proposes by itself and waits for nobody.

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

/// Proposes writes on one replica.
pub(super) struct Proposer {
    raft: Raft,
    env: Arc<dyn Env>,
    per_entry: Histogram,
    line: Line,
}

/// Where writes wait to be proposed.
#[derive(Default)]
struct Line {
    queue: Mutex<Queue>,
    wanted: Notify,
    /// Each entry under way holds one more.
    under_way: Arc<()>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// The last entry had more than one write.
    crowd: bool,
    stopped: Option<Fatal>,
}

impl Proposer {
    /// Starts to propose what is submitted, until it is stopped.
    pub(super) fn start(raft: Raft, env: Arc<dyn Env>, per_entry: Histogram) -> Arc<Proposer> {
        let proposer = Arc::new(Proposer { raft, env, per_entry, line: Line::default() });
        proposer.env.spawn(Box::pin(Arc::clone(&proposer).run()));
        proposer
    }

    /// Has `write` proposed, by the caller itself if it is alone.
    pub(super) async fn submit(&self, write: Write, answer: oneshot::Sender<Proposed>) {
        if self.line.is_free() {
            self.propose(vec![write], vec![answer]).await;
        } else {
            self.line.join([(write, answer)]);
        }
    }

    /// Has `writes` proposed in their order.
    pub(super) fn submit_many(&self, writes: impl IntoIterator<Item = Waiting>) {
        self.line.join(writes);
    }

    /// Ends the task. What waits, and what comes later, is refused.
    pub(super) fn stop(&self, fatal: Fatal) {
        self.line.close(fatal);
    }

    async fn run(self: Arc<Self>) {
        while let Some(waiting) = self.line.next().await {
            let mut waiting = waiting.into_iter().peekable();
            while let Some((writes, answers)) = next_entry(&mut waiting) {
                self.propose(writes, answers).await;
            }
        }
    }

    async fn propose(&self, writes: Vec<Write>, answers: Vec<oneshot::Sender<Proposed>>) {
        #[allow(clippy::cast_precision_loss)]
        self.per_entry.record(writes.len() as f64);
        let proposal = Proposal { stamped: self.env.wall(), writes };
        let answers = Arc::new(Mutex::new(answers));
        let answer = {
            let (answers, under_way) = (Arc::clone(&answers), Arc::clone(&self.line.under_way));
            Answer::new(move |result| {
                drop(under_way);
                give(take(&answers), result);
            })
        };
        if let Err(fatal) = self.raft.client_write_ff(Arc::new(proposal), Some(answer)).await {
            let fatal = Fatal(fatal.to_string());
            for answer in take(&answers) {
                let _ = answer.send(Err(NotHere::Stopped(fatal.clone())));
            }
        }
    }
}

impl Line {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody waits, nothing is under way, and no crowd is likely to come right behind.
    fn is_free(&self) -> bool {
        let queue = self.queue();
        let nobody = queue.waiting.is_empty() && Arc::strong_count(&self.under_way) == 1;
        nobody && !queue.crowd && queue.stopped.is_none()
    }

    fn join(&self, writes: impl IntoIterator<Item = Waiting>) {
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

    fn close(&self, fatal: Fatal) {
        let mut queue = self.queue();
        let waiting = std::mem::take(&mut queue.waiting);
        queue.stopped.get_or_insert(fatal.clone());
        drop(queue);
        self.wanted.notify_one();
        for (_, answer) in waiting {
            let _ = answer.send(Err(NotHere::Stopped(fatal.clone())));
        }
    }

    /// Waits until somebody waits, and takes all who do; nothing when the line is closed.
    async fn next(&self) -> Option<Vec<Waiting>> {
        self.wanted.notified().await;
        tokio::task::yield_now().await;
        let mut queue = self.queue();
        queue.crowd = queue.waiting.len() > 1;
        // The next ones will be about as many.
        let room = Vec::with_capacity(queue.waiting.len());
        let waiting = std::mem::replace(&mut queue.waiting, room);
        queue.stopped.is_none().then_some(waiting)
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
        Outcome::Done => Ok(WriteOutcome { at, reply: bytes::Bytes::new(), replayed: false }),
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
    async fn a_closed_line_refuses_who_waits_and_who_comes() {
        let line = Line::default();
        let (early, receivers) = waiting(&[1]);
        line.join(early);
        line.close(Fatal("over".into()));
        let (late, more) = waiting(&[1]);
        line.join(late);
        for receiver in receivers.into_iter().chain(more) {
            assert!(matches!(receiver.await, Ok(Err(NotHere::Stopped(_)))));
        }
        assert!(line.next().await.is_none());
    }

    #[tokio::test]
    async fn a_line_is_free_for_a_lone_writer_but_not_right_after_a_crowd() {
        let line = Line::default();
        assert!(line.is_free());
        let under_way = Arc::clone(&line.under_way);
        assert!(!line.is_free(), "an entry is under way");
        drop(under_way);
        let (writes, _receivers) = waiting(&[1, 2]);
        line.join(writes);
        assert!(!line.is_free(), "two wait");
        assert_eq!(line.next().await.map(|taken| taken.len()), Some(2));
        assert!(!line.is_free(), "the two are likely to come again");
        let (writes, _receivers) = waiting(&[1]);
        line.join(writes);
        assert_eq!(line.next().await.map(|taken| taken.len()), Some(1));
        assert!(line.is_free());
    }
}
