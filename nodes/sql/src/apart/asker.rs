//! The coordinator's end: questions on their way, and the pages of their answers as they come.
//!
//! Promises: a question is repeated until it is answered or its time is over; pages count once, in whatever order they come;
//! what is asked of one node only that node can answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate::env::Env;
use quorate::machine::encode;
use quorate_nodes::stdio::{Outbox, Request as Line};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::message::{
    ANSWER_BYTES_MAX, Answer, Encoded, Message, PAGE_BYTES, PAGES_ON_THE_WAY, QUESTION_BYTES_MAX, Question,
};

/// How long nothing may come before it is asked again: from the first to so many times that, doubling.
const AGAIN: (Duration, u32) = (Duration::from_millis(100), 8);

/// A large question takes longer to arrive, and is not to be sent again before it has: so many bytes a millisecond.
const PACE: usize = 1024;

/// A node that asks others.
pub struct Asker {
    own: Arc<str>,
    outbox: Outbox,
    life: u64,
    next: AtomicU64,
    open: Mutex<BTreeMap<u64, Gathering>>,
}

/// An answer as far as it is there.
struct Gathering {
    /// Who is to answer.
    node: Arc<str>,
    /// By number, once it is known how many there are.
    pages: Vec<Option<Bytes>>,
    missing: usize,
    /// Pages below this one have been asked for.
    wanted: u32,
    /// Pages came that cannot be of one answer: the node has begun anew.
    is_broken: bool,
    changed: Arc<Notify>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It was not sent: it is too large.
    TooLarge,
    /// Nothing came in time, or not all of it.
    Silence,
    /// What came makes no sense.
    Garbled,
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker").field("own", &self.own).field("life", &self.life).finish_non_exhaustive()
    }
}

impl Asker {
    /// The node `own`, whose messages leave through `outbox`.
    pub fn new(own: impl Into<Arc<str>>, outbox: Outbox, env: &Arc<dyn Env>) -> Arc<Self> {
        // Few enough digits for every reader of JSON.
        let life = env.random() >> 11;
        let (next, open) = (AtomicU64::new(1), Mutex::default());
        Arc::new(Asker { own: own.into(), outbox, life, next, open })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Gathering>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, node: &Arc<str>, message: &Message) {
        self.outbox.send_body(&self.own, node, message.body());
    }

    /// Takes a page of an answer; whatever else it is makes no sense here.
    pub fn hear(&self, line: &Line) {
        match Message::of(line) {
            Some(Message::Page { life, ask, page, pages, data }) if life == self.life => {
                let Some(wanted) = self.arrived(&line.src, ask, page, pages, data.0) else { return };
                self.send(&line.src, &Message::Want { life, ask, pages: wanted });
            }
            // Of an earlier life of this node.
            Some(Message::Page { .. }) => {}
            _ => tracing::warn!(src = &*line.src, kind = line.kind, "a message that makes no sense here"),
        }
    }

    /// A page has come; the pages that are to follow now.
    fn arrived(&self, src: &str, ask: u64, page: u32, pages: u32, data: Bytes) -> Option<Vec<u32>> {
        let mut open = self.open();
        let gathering = open.get_mut(&ask).filter(|gathering| *gathering.node == *src)?;
        let wanted = gathering.take(page, pages, data);
        gathering.changed.notify_one();
        wanted
    }

    /// Asks a node. Gives up by itself when it is dropped.
    pub(super) async fn ask(
        self: &Arc<Self>,
        node: &Arc<str>,
        question: &Question,
        deadline: Instant,
    ) -> Result<(Answer, Bytes), NoAnswer> {
        let patience = deadline.saturating_duration_since(Instant::now());
        self.numbered(node, question, patience, deadline).await.map(|(_, answer)| answer)
    }

    /// The same with the question's number; gives up, too, when nothing has come for as long as `patience`.
    pub(super) async fn numbered(
        self: &Arc<Self>,
        node: &Arc<str>,
        question: &Question,
        patience: Duration,
        deadline: Instant,
    ) -> Result<(u64, (Answer, Bytes)), NoAnswer> {
        let data = encode(question);
        if data.len() > QUESTION_BYTES_MAX {
            return Err(NoAnswer::TooLarge);
        }
        let asking = Asking::begin(self, node);
        let first = AGAIN.0 + Duration::from_millis((data.len() / PACE) as u64);
        let (mut pause, mut heard) = (first, Instant::now());
        loop {
            let now = Instant::now();
            let patient = heard + patience;
            if now >= deadline.min(patient) {
                return Err(NoAnswer::Silence);
            }
            let left = u64::try_from((deadline - now).as_millis()).unwrap_or(u64::MAX).max(1);
            self.send(node, &asking.message(question, &data, left));
            let mut quiet = (now + pause).min(patient);
            while timeout_at(quiet.min(deadline), asking.changed.notified()).await.is_ok() {
                if let Some(whole) = asking.whole()? {
                    return Answer::of(whole).map(|answer| (asking.ask, answer)).ok_or(NoAnswer::Garbled);
                }
                (pause, heard) = (first, Instant::now());
                quiet = heard + pause;
            }
            pause = (pause * 2).min(first * AGAIN.1);
        }
    }

    /// Says that the view which a question has opened is not needed any more.
    pub(super) fn close(&self, node: &Arc<str>, ask: u64) {
        self.send(node, &Message::Close { life: self.life, ask });
    }
}

impl Gathering {
    /// Takes a page; the pages to ask for now.
    fn take(&mut self, page: u32, pages: u32, data: Bytes) -> Option<Vec<u32>> {
        let count = usize::try_from(pages).ok()?;
        if self.pages.is_empty() {
            if count == 0 || count > ANSWER_BYTES_MAX / PAGE_BYTES + 1 {
                return None;
            }
            (self.pages, self.missing) = (vec![None; count], count);
        }
        self.is_broken |= self.pages.len() != count;
        let place = self.pages.get_mut(usize::try_from(page).ok()?)?;
        if place.replace(data).is_none() {
            self.missing -= 1;
        }
        let arrived = pages - u32::try_from(self.missing).ok()?;
        let upto = arrived.saturating_add(PAGES_ON_THE_WAY).min(pages);
        // Half of them at once, so that not every page is answered by a message.
        let is_time = upto == pages || upto >= self.wanted.saturating_add(PAGES_ON_THE_WAY / 2);
        if self.is_broken || !is_time || self.wanted >= upto {
            return None;
        }
        let pages = &self.pages;
        let is_missing = |number: &u32| pages.get(*number as usize).is_some_and(Option::is_none);
        let wanted = (self.wanted..upto).filter(is_missing).collect();
        self.wanted = upto;
        Some(wanted)
    }
}

/// A question that is waited for.
struct Asking<'a> {
    asker: &'a Arc<Asker>,
    node: &'a Arc<str>,
    ask: u64,
    changed: Arc<Notify>,
}

impl<'a> Asking<'a> {
    fn begin(asker: &'a Arc<Asker>, node: &'a Arc<str>) -> Self {
        let (ask, changed) = (asker.next.fetch_add(1, Ordering::Relaxed), Arc::<Notify>::default());
        let gathering = Gathering {
            node: Arc::clone(node),
            pages: Vec::new(),
            missing: 0,
            wanted: PAGES_ON_THE_WAY,
            is_broken: false,
            changed: Arc::clone(&changed),
        };
        asker.open().insert(ask, gathering);
        Asking { asker, node, ask, changed }
    }

    /// What to say now: the question, or which pages of its answer are missing.
    fn message(&self, question: &Question, data: &Bytes, timeout_ms: u64) -> Message {
        let (life, ask) = (self.asker.life, self.ask);
        if let Some(gathering) = self.asker.open().get(&ask).filter(|gathering| !gathering.pages.is_empty()) {
            let missing = (0..).zip(&gathering.pages).filter(|(_, page)| page.is_none()).map(|(number, _)| number);
            return Message::Want { life, ask, pages: missing.take(PAGES_ON_THE_WAY as usize).collect() };
        }
        Message::Ask { life, ask, about: question.about().to_owned(), timeout_ms, data: Encoded(data.clone()) }
    }

    /// The answer, once all of it is there.
    fn whole(&self) -> Result<Option<Bytes>, NoAnswer> {
        let mut open = self.asker.open();
        let Some(gathering) = open.get_mut(&self.ask) else { return Ok(None) };
        if gathering.is_broken {
            return Err(NoAnswer::Garbled);
        }
        if gathering.pages.is_empty() || gathering.missing > 0 {
            return Ok(None);
        }
        let pages = std::mem::take(&mut gathering.pages);
        Ok(Some(pages.into_iter().flatten().reduce(joined).unwrap_or_default()))
    }
}

/// One after the other. What was joined before is not copied again.
fn joined(first: Bytes, next: Bytes) -> Bytes {
    let mut both = bytes::BytesMut::from(first);
    both.extend_from_slice(&next);
    both.freeze()
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.asker.open().remove(&self.ask);
        self.asker.send(self.node, &Message::Done { life: self.asker.life, ask: self.ask });
    }
}
