//! A shard's end: which questions are being carried out, and the answers that are kept until they have arrived.
//!
//! Promises: a question that comes again is not carried out again, but answered again; what is kept ends with the time of
//! those who asked, and is bounded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_nodes::stdio::Outbox;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::message::{Answer, Encoded, Message, PAGE_BYTES, PAGES_ON_THE_WAY};
use crate::data::ShardError;

/// A question is remembered for so long after the time of whoever asked it: copies of it may still come.
const LATE: Duration = Duration::from_secs(10);

/// So many questions are remembered at most.
const QUESTIONS_MAX: usize = 65_536;

/// So many bytes of answers are kept at most.
const BYTES_MAX: usize = 1 << 30;

/// A question: who has asked it, in which of its lives, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AskId {
    pub(super) src: Arc<str>,
    pub(super) life: u64,
    pub(super) ask: u64,
}

/// The questions to one node.
pub(super) struct Answerer {
    own: Arc<str>,
    outbox: Outbox,
    held: Mutex<Held>,
}

struct Held {
    asks: BTreeMap<AskId, Asked>,
    bytes: usize,
    swept: Instant,
}

struct Asked {
    until: Instant,
    state: State,
}

enum State {
    /// Being carried out. It may be given up if it has a handle.
    Working(Option<AbortHandle>),
    Answered(Bytes),
    Done,
}

impl fmt::Debug for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answerer").field("own", &self.own).finish_non_exhaustive()
    }
}

impl Answerer {
    /// The node `own`, whose messages leave through `outbox`.
    pub(super) fn new(own: Arc<str>, outbox: Outbox) -> Self {
        let held = Held { asks: BTreeMap::new(), bytes: 0, swept: Instant::now() };
        Answerer { own, outbox, held: Mutex::new(held) }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a question is to be carried out: it is new, and there is room for it. One that was answered is answered again.
    pub(super) fn begins(&self, id: &AskId, timeout: Duration) -> bool {
        let now = Instant::now();
        let again = {
            let mut held = self.held();
            held.sweep(now);
            match held.asks.get(id).map(|asked| &asked.state) {
                Some(State::Working(_) | State::Done) => return false,
                Some(State::Answered(bytes)) => Some(bytes.clone()),
                None if held.asks.len() >= QUESTIONS_MAX || held.bytes >= BYTES_MAX => {
                    let refusal = ShardError::Unavailable("too many questions are waited for".into());
                    Some(Answer::Refused(refusal).with(&[]))
                }
                None => {
                    let until = now + timeout + LATE;
                    held.asks.insert(id.clone(), Asked { until, state: State::Working(None) });
                    None
                }
            }
        };
        if let Some(bytes) = &again {
            self.send(id, bytes, 0..PAGES_ON_THE_WAY);
        }
        again.is_none()
    }

    /// A question is being carried out by a task that may be given up.
    pub(super) fn may_end(&self, id: &AskId, task: AbortHandle) {
        if let Some(Asked { state: State::Working(handle), .. }) = self.held().asks.get_mut(id) {
            *handle = Some(task);
        }
    }

    /// A question was carried out.
    pub(super) fn answer(&self, id: &AskId, bytes: Bytes) {
        {
            let mut held = self.held();
            let Some(asked) = held.asks.get_mut(id) else { return };
            if !matches!(asked.state, State::Working(_)) {
                return;
            }
            asked.state = State::Answered(bytes.clone());
            held.bytes += bytes.len();
        }
        self.send(id, &bytes, 0..PAGES_ON_THE_WAY);
    }

    /// These pages are wanted.
    pub(super) fn wanted(&self, id: &AskId, pages: Vec<u32>) {
        let bytes = match self.held().asks.get(id) {
            Some(Asked { state: State::Answered(bytes), .. }) => bytes.clone(),
            Some(_) => return,
            // It was asked of an earlier life of this node: no more of its answer will come.
            None => Answer::Refused(ShardError::Unavailable("the shard has started anew".into())).with(&[]),
        };
        self.send(id, &bytes, pages.into_iter().take(PAGES_ON_THE_WAY as usize));
    }

    /// Nothing more is wanted of the answer.
    pub(super) fn done(&self, id: &AskId) {
        let mut held = self.held();
        let Some(asked) = held.asks.get_mut(id) else { return };
        match std::mem::replace(&mut asked.state, State::Done) {
            State::Working(Some(task)) => task.abort(),
            // A change goes on; nobody waits for its answer.
            State::Working(None) | State::Done => {}
            State::Answered(bytes) => held.bytes -= bytes.len(),
        }
    }

    fn send(&self, id: &AskId, bytes: &Bytes, pages: impl IntoIterator<Item = u32>) {
        let AskId { src, life, ask } = id;
        let count = u32::try_from(bytes.len().div_ceil(PAGE_BYTES).max(1)).unwrap_or(u32::MAX);
        for page in pages.into_iter().filter(|page| *page < count) {
            let from = page as usize * PAGE_BYTES;
            let data = Encoded(bytes.slice(from..bytes.len().min(from + PAGE_BYTES)));
            let message = Message::Page { life: *life, ask: *ask, page, pages: count, data };
            self.outbox.send_body(&self.own, src, message.body());
        }
    }
}

impl Held {
    /// Forgets what nobody waits for any more, now and then.
    fn sweep(&mut self, now: Instant) {
        if now < self.swept + LATE / 10 && self.asks.len() < QUESTIONS_MAX {
            return;
        }
        self.swept = now;
        let mut freed = 0;
        self.asks.retain(|_, asked| {
            let stays = asked.until > now || matches!(asked.state, State::Working(_));
            if let (false, State::Answered(bytes)) = (stays, &asked.state) {
                freed += bytes.len();
            }
            stays
        });
        self.bytes -= freed;
    }
}
