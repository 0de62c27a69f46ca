//! A shard in other processes, as a coordinator reads and changes it.
//!
//! Promises: a question goes to one replica after the other until one answers or the time is over; what one query reads of a
//! shard is one view, on one replica; an error says whether a change can have happened.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::record_batch::RecordBatch;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use quorate::machine::{decode, encode};
use quorate::types::Index;
use quorate::{Consistency, ReadError, ReadReply, Rejected, Unknown, WriteError, Written, watch};
use quorate_nodes::kv::{DirectClient, Reach, Target};
use quorate_statemachines::kv::{Configure, Configured, KvAnswer, KvCommand, KvMachine, KvQuery, KvReply};
use quorate_statemachines::{Gid, ShardId};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::asker::{Asker, NoAnswer};
use super::message::{Answer, Question, RunError};
use crate::data::{KvView, ReadConsistency, ShardData, ShardError, ShardStore, ShardView, Sight};
use crate::error::Kind;
use crate::scatter::{Executor, Failure, Frame, Request};
use crate::schema::TableSchema;

/// A silent replica is waited for at least so long, if the deadline allows it, and at most so long, before another one is
/// asked.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(1500));

/// The pause after a refusal.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the answer to a change is waited for, whoever asks meanwhile.
const WRITTEN: Duration = Duration::from_secs(10);

/// How long one attempt to tell a shard which one it is may take.
const CONFIGURED: Duration = Duration::from_secs(2);

/// One question's answer, which several attempts at a change may wait for.
type Coming = Shared<BoxFuture<'static, Result<(Answer, Bytes), NoAnswer>>>;

/// Changes on their way.
type Writing = BTreeMap<(usize, Vec<u8>), Coming>;

/// A shard by the names of its replicas.
pub struct RemoteShard {
    name: String,
    nodes: Vec<Arc<str>>,
    shard: ShardId,
    asker: Arc<Asker>,
    /// The replica that is asked first: the one that answered last.
    first: AtomicUsize,
    /// Changes whose answers are waited for, by the replica that was asked.
    writing: Arc<Mutex<Writing>>,
    /// Whether the shard knows which one it is, or why it never will.
    ready: watch::Sender<Option<Result<(), ShardError>>>,
}

impl fmt::Debug for RemoteShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteShard").field("name", &self.name).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

impl RemoteShard {
    /// The shard of this name and number, whose replicas are `nodes`: one at least.
    pub fn new(name: String, shard: ShardId, nodes: Vec<Arc<str>>, asker: Arc<Asker>) -> Arc<Self> {
        let (ready, first) = (watch::channel(None).0, AtomicUsize::new(0));
        Arc::new(RemoteShard { name, nodes, shard, asker, first, writing: Arc::default(), ready })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Has the shard told which one it is, as often as it takes: it may not be there yet.
    pub async fn configure(&self, client: &DirectClient, config: &Configure) {
        let gid = Gid::new(&*self.name);
        let outcome = loop {
            match client.configure(Target { gid: &gid, group: self }, config, CONFIGURED).await {
                Ok((Configured::Applied | Configured::SameAgain, _)) => break Ok(()),
                Ok((other, _)) => {
                    tracing::error!(shard = self.name, ?other, "the shard is another one's");
                    break Err(ShardError::Failed(format!("it was made for other shards than these: {other:?}")));
                }
                Err(error) => tracing::debug!(shard = self.name, %error, "the shard does not know yet which one it is"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        self.ready.modify(|ready| {
            *ready = Some(outcome);
            true
        });
    }

    /// Waits until the shard knows which one it is.
    async fn ready(&self, deadline: Instant) -> Result<(), ShardError> {
        let mut ready = self.ready.subscribe();
        let known = timeout_at(deadline, ready.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(ready)) => ready.unwrap_or(Err(ShardError::Timeout)),
            Ok(Err(_)) | Err(_) => Err(ShardError::Timeout),
        }
    }

    fn node(&self, attempt: usize) -> (usize, &Arc<str>) {
        let nth = self.first.load(Ordering::Relaxed).wrapping_add(attempt) % self.nodes.len();
        (nth, &self.nodes[nth])
    }

    /// Asks one replica after the other until one's answer is good.
    async fn until_answered<T>(
        &self,
        question: &Question,
        deadline: Instant,
        read: impl Fn(&Arc<str>, u64, Answer, Bytes) -> Result<T, ShardError>,
    ) -> Result<T, ShardError> {
        self.ready(deadline).await?;
        let mut failure = ShardError::Timeout;
        for attempt in 0.. {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let patience = if self.nodes.len() == 1 { left } else { (left / 2).clamp(PATIENCE.0, PATIENCE.1) };
            let (nth, node) = self.node(attempt);
            let error = match self.asker.numbered(node, question, patience, deadline).await {
                Ok((_, (Answer::Refused(error), _))) => error,
                Ok((ask, (answer, rest))) => match read(node, ask, answer, rest) {
                    Ok(read) => {
                        self.first.store(nth, Ordering::Relaxed);
                        return Ok(read);
                    }
                    Err(error) => error,
                },
                Err(error) => error.into(),
            };
            if let ShardError::Failed(_) = error {
                return Err(error);
            }
            failure = error;
            tokio::time::sleep(PAUSE.min(deadline.saturating_duration_since(Instant::now()))).await;
        }
        Err(failure)
    }
}

impl RemoteShard {
    /// Sends a change to the replica of this attempt. If an earlier attempt's answer may still come from there, it is waited
    /// for instead: a slow replica is not to be given the same work again and again.
    fn send(&self, command: Vec<u8>, attempt: usize) -> (usize, Coming) {
        let (nth, node) = self.node(attempt);
        let key = (nth, command.clone());
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(coming) = writing.get(&key) {
            return (nth, coming.clone());
        }
        let (asker, node, place) = (Arc::clone(&self.asker), Arc::clone(node), key.clone());
        let (all, question) = (Arc::clone(&self.writing), Question::Write { command });
        let asking = tokio::spawn(async move {
            let answer = asker.ask(&node, &question, Instant::now() + WRITTEN).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
            answer
        });
        let coming = async move { asking.await.unwrap_or(Err(NoAnswer::Silence)) }.boxed().shared();
        writing.insert(key, coming.clone());
        (nth, coming)
    }

    /// Has a part of the shard sent here.
    async fn fetch(
        &self,
        consistency: ReadConsistency,
        sight: &Sight,
        deadline: Instant,
    ) -> Result<Arc<KvView>, ShardError> {
        let question = Question::See { shard: self.shard, consistency, sight: sight.clone() };
        let seen = |_: &Arc<str>, _: u64, answer: Answer, rest: Bytes| {
            let Answer::Seen(applied) = answer else { return Err(another()) };
            let pairs = decode(&rest).map_err(|error| ShardError::Failed(error.to_string()))?;
            KvView::of_pairs(pairs, applied?).map(Arc::new)
        };
        self.until_answered(&question, deadline, seen).await
    }
}

impl From<NoAnswer> for ShardError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::TooLarge => ShardError::Failed("the question is too large for a message".into()),
            NoAnswer::Silence => ShardError::Timeout,
            NoAnswer::Garbled => ShardError::Unavailable("its answer broke off".into()),
        }
    }
}

fn another() -> ShardError {
    ShardError::Failed("another question's answer".into())
}

#[async_trait]
impl ShardData for RemoteShard {
    async fn view(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<dyn ShardView>, ShardError> {
        // A query may get its time twice, and some to be put together.
        let kept = deadline.saturating_duration_since(Instant::now()) * 3 + Duration::from_secs(10);
        let keep_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let question = Question::Open { shard: self.shard, consistency, keep_ms };
        let until = Instant::now() + kept;
        let opened = |node: &Arc<str>, ask: u64, answer: Answer, _: Bytes| {
            let Answer::Opened(tables) = answer else { return Err(another()) };
            let table = |(table, rows): (TableSchema, Option<u64>)| (Arc::clone(&table.name), (Arc::new(table), rows));
            let tables = tables?.into_iter().map(table).collect();
            let there = Arc::new(There { asker: Arc::clone(&self.asker), node: Arc::clone(node), view: ask, until });
            Ok(Arc::new(RemoteView { tables, there }) as Arc<dyn ShardView>)
        };
        self.until_answered(&question, deadline, opened).await
    }
}

#[async_trait]
impl ShardStore for RemoteShard {
    fn shard(&self) -> ShardId {
        self.shard
    }

    fn reach(&self) -> &dyn Reach<KvMachine> {
        self
    }

    async fn look(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<KvView>, ShardError> {
        self.fetch(consistency, &Sight::Everything, deadline).await
    }

    async fn see(&self, sight: &Sight, deadline: Instant) -> Result<Arc<KvView>, ShardError> {
        self.fetch(ReadConsistency::Linearizable, sight, deadline).await
    }
}

#[async_trait]
impl Reach<KvMachine> for RemoteShard {
    async fn write(
        &self,
        command: &KvCommand,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<KvReply>, WriteError> {
        let (nth, coming) = self.send(encode(command).into(), attempt);
        let answer = tokio::time::timeout(timeout, coming).await.unwrap_or(Err(NoAnswer::Silence));
        let written = match answer {
            Ok((Answer::Written(written), _)) => written.map(|(at, reply, replayed)| Written { at, reply, replayed }),
            // An earlier copy of the question may have been taken, in an earlier life of the replica.
            Ok((Answer::Refused(error), _)) => Err(Unknown::AnswerLost(error.to_string()).into()),
            Ok(_) => Err(Unknown::AnswerLost("another question's answer".into()).into()),
            Err(NoAnswer::TooLarge) => Err(Rejected::Invalid("the change is too large for a message".into()).into()),
            Err(NoAnswer::Silence) => Err(Unknown::Deadline(timeout).into()),
            Err(NoAnswer::Garbled) => Err(Unknown::AnswerLost("the answer broke off".into()).into()),
        };
        if written.is_ok() {
            self.first.store(nth, Ordering::Relaxed);
        }
        written
    }

    /// As fresh as a linearizable read, whatever is asked for.
    async fn read(
        &self,
        _: Consistency,
        query: &KvQuery,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<KvAnswer>, ReadError> {
        let question = Question::Read { query: encode(query).into() };
        match self.asker.ask(self.node(attempt).1, &question, Instant::now() + timeout).await {
            Ok((Answer::Read(read), _)) => *read,
            Ok(_) => Err(Rejected::LeaderNotReady("another question's answer".into()).into()),
            Err(_) => Err(ReadError::Deadline(timeout)),
        }
    }

    /// Nobody tells of changes: whoever waits for one looks again after `timeout`.
    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        tokio::time::sleep(timeout).await;
        past
    }
}

/// A shard at one moment, on one of its replicas.
struct RemoteView {
    tables: BTreeMap<Arc<str>, (Arc<TableSchema>, Option<u64>)>,
    there: Arc<There>,
}

impl ShardView for RemoteView {
    fn tables(&self) -> Vec<Arc<TableSchema>> {
        self.tables.values().map(|(table, _)| Arc::clone(table)).collect()
    }

    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        self.tables.get(name).map(|(table, _)| Arc::clone(table))
    }

    fn batches(&self, _: &TableSchema) -> Result<Arc<[RecordBatch]>, ShardError> {
        Err(ShardError::Failed("its rows are in another process".into()))
    }

    fn rows(&self, table: &TableSchema) -> Option<usize> {
        let (_, rows) = self.tables.get(&table.name)?;
        rows.and_then(|rows| usize::try_from(rows).ok())
    }

    fn executor(&self) -> Option<Arc<dyn Executor>> {
        Some(Arc::clone(&self.there) as Arc<dyn Executor>)
    }
}

/// Where a view is. The replica keeps it until this is dropped, or for a while.
struct There {
    asker: Arc<Asker>,
    node: Arc<str>,
    view: u64,
    until: Instant,
}

impl Drop for There {
    fn drop(&mut self) {
        self.asker.close(&self.node, self.view);
    }
}

#[async_trait]
impl Executor for There {
    async fn run(&self, request: Arc<Request>, _: Arc<dyn ShardView>, frames: mpsc::Sender<Frame>) {
        let given = request.given.iter().map(|given| (given.number, given.stream.to_vec())).collect();
        let question = Question::Run {
            view: self.view,
            engine: request.engine.clone(),
            plan: request.plan.to_vec(),
            scalars: request.scalars.clone(),
            given,
        };
        let failed = |kind, text: &str| Frame::Failed(Failure { kind, text: text.to_owned() });
        let last = match self.asker.ask(&self.node, &question, self.until).await {
            Ok((Answer::Ran(Ok(rows)), stream)) => {
                if frames.send(Frame::Bytes(stream)).await.is_err() {
                    return;
                }
                Frame::End { rows }
            }
            Ok((Answer::Ran(Err(error)), _)) => match error {
                RunError::Statement(text) => failed(Kind::Statement, &text),
                RunError::Memory(text) => failed(Kind::Memory, &text),
                RunError::Internal(text) => failed(Kind::Internal, &text),
                RunError::NoView => failed(Kind::Internal, "the replica does not have the view any more"),
            },
            Ok((Answer::Refused(error), _)) => failed(Kind::Internal, &error.to_string()),
            Ok(_) => failed(Kind::Internal, "another question's answer"),
            Err(error) => failed(Kind::Internal, &ShardError::from(error).to_string()),
        };
        let _ = frames.send(last).await;
    }
}
