//! A process's replica of one shard, and what it answers a coordinator.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use datafusion::execution::memory_pool::MemoryConsumer;
use quorate::machine::{decode, encode};
use quorate::{Consistency, Fatal, Group, GroupId, Rejected, WriteOptions};
use quorate_nodes::distributed::{DistributedNode, DistributedOptions, Roster};
use quorate_nodes::kv::StoreOptions;
use quorate_nodes::stdio::peers::PeerMessage;
use quorate_nodes::stdio::{Failure, Outbox, Request as Line};
use quorate_statemachines::kv::KvMachine;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answerer::{Answerer, AskId};
use super::message::{ANSWER_BYTES_MAX, Answer, Message, Question, RunError};
use crate::data::{CacheOptions, KvView, ReplicaData, ShardError, ShardView};
use crate::error::Kind;
use crate::plan::Planner;
use crate::scatter::{EngineOptions, Executor, Frame, Given, LocalExecutor, QueryRuntime, Request};
use crate::schema::TableSchema;

/// The group of a process that has a replica of one only.
const GROUP: GroupId = GroupId(1);

/// No view is kept for longer.
const KEPT_MAX: Duration = Duration::from_secs(600);

/// How many frames may wait to be put together.
const FRAMES: usize = 4;

/// What a replica of a shard is made of.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The shard's name.
    pub shard: String,
    /// The names of all of its replicas, this one's among them.
    pub replicas: Vec<String>,
    /// How its parts of queries run.
    pub engine: EngineOptions,
    /// How it finds the others, and what it keeps.
    pub distributed: DistributedOptions,
}

/// A replica of a shard.
pub struct Member {
    node: DistributedNode,
    answerer: Answerer,
    part: Arc<Part>,
}

/// What questions are carried out with.
struct Part {
    group: Group<KvMachine>,
    data: ReplicaData,
    runtime: QueryRuntime,
    executor: LocalExecutor,
    views: Mutex<BTreeMap<AskId, (Instant, Arc<KvView>)>>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Member {
    /// Starts the replica on the node `own`; waits for nobody.
    ///
    /// # Errors
    /// [`Fatal`] when `own` is not one of the replicas, or what it has kept cannot be used.
    pub async fn start(
        own: &str,
        options: MemberOptions,
        outbox: Outbox,
        failure: Failure,
    ) -> Result<Arc<Member>, Fatal> {
        let MemberOptions { shard, replicas, engine, distributed } = options;
        let roster = Roster::of_some(replicas.iter().map(String::as_str), own)?;
        let threads = QueryRuntime::new(engine.threads, engine.memory_bytes);
        let runtime = threads.map_err(|error| Fatal(format!("queries cannot be run: {error}")))?;
        let what = format!("shard {shard}");
        let answerer = Answerer::new(own.into(), outbox.clone());
        let node = DistributedNode::start(&what, roster, outbox, failure, &distributed, distributed.group()).await?;
        let machine = KvMachine::new(StoreOptions::default().session_ttl);
        let group = node.host(GROUP, machine, node.roster().nodes()).await?;
        node.listen();
        let data = ReplicaData::new(group.clone(), node.roster().own(), CacheOptions::default());
        let executor = LocalExecutor::new(Planner::new(1, Arc::clone(runtime.environment())).task_context());
        let part = Part { group, data, runtime, executor, views: Mutex::default() };
        Ok(Arc::new(Member { node, answerer, part: Arc::new(part) }))
    }

    /// Takes a message of another replica.
    pub fn hear_peer(&self, message: &PeerMessage) {
        self.node.hear(message);
    }

    /// Takes a message of a coordinator.
    pub fn hear(self: &Arc<Self>, line: &Line) {
        let id = |life: u64, ask: u64| AskId { src: Arc::clone(&line.src), life, ask };
        match Message::of(line) {
            Some(Message::Ask { life, ask, timeout_ms, data, .. }) => {
                self.asked(id(life, ask), Duration::from_millis(timeout_ms).min(KEPT_MAX), &data.0);
            }
            Some(Message::Want { life, ask, pages }) => self.answerer.wanted(&id(life, ask), pages),
            Some(Message::Done { life, ask }) => self.answerer.done(&id(life, ask)),
            Some(Message::Close { life, ask }) => self.part.close(&id(life, ask)),
            Some(Message::Page { .. }) | None => {
                tracing::warn!(src = &*line.src, kind = line.kind, "a message that makes no sense here");
            }
        }
    }

    fn asked(self: &Arc<Self>, id: AskId, timeout: Duration, data: &Bytes) {
        if !self.answerer.begins(&id, timeout) {
            return;
        }
        let question: Question = match decode(data) {
            Ok(question) => question,
            Err(error) => {
                let refusal = ShardError::Failed(format!("a question that cannot be understood: {error}"));
                return self.answerer.answer(&id, Answer::Refused(refusal).with(&[]));
            }
        };
        let (member, asked, deadline) = (Arc::clone(self), id.clone(), Instant::now() + timeout);
        let is_harmless = question.is_harmless();
        let task = tokio::spawn(async move {
            let bytes = member.part.carry_out(&asked, question, deadline).await;
            member.answerer.answer(&asked, bytes);
        });
        if is_harmless {
            self.answerer.may_end(&id, task.abort_handle());
        }
    }

    /// Stops the replica.
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }
}

impl Part {
    async fn carry_out(&self, id: &AskId, question: Question, deadline: Instant) -> Bytes {
        let left = || deadline.saturating_duration_since(Instant::now());
        match question {
            Question::Open { shard, consistency, keep_ms } => {
                let view = self.data.look(shard, consistency, deadline).await;
                let opened = view.map(|view| self.keep(id, view, Duration::from_millis(keep_ms).min(KEPT_MAX)));
                Answer::Opened(opened).with(&[])
            }
            Question::Run { view, engine, plan, scalars, given } => {
                let given = given.into_iter().map(|(number, stream)| Arc::new(Given { number, stream: stream.into() }));
                let request = Request { engine, plan: plan.into(), scalars, given: given.collect() };
                let view = AskId { ask: view, ..id.clone() };
                match self.run(&view, request).await {
                    Ok((rows, bytes)) => Answer::Ran(Ok(rows)).with(&bytes),
                    Err(error) => Answer::Ran(Err(error)).with(&[]),
                }
            }
            Question::See { shard, consistency, sight } => match self.data.look(shard, consistency, deadline).await {
                Ok(view) => Answer::Seen(Ok(view.applied())).with(&encode(&view.seen(&sight))),
                Err(error) => Answer::Seen(Err(error)).with(&[]),
            },
            Question::Write { command } => {
                let written = match decode(&command) {
                    Ok(command) => self.group.write(&command, WriteOptions { session: None, timeout: left() }).await,
                    Err(error) => Err(Rejected::Invalid(error.to_string()).into()),
                };
                Answer::written(written).with(&[])
            }
            Question::Read { query } => {
                let read = match decode(&query) {
                    Ok(query) => self.group.read(Consistency::Linearizable, &query, left()).await,
                    Err(error) => Err(Rejected::Invalid(error.to_string()).into()),
                };
                Answer::Read(Box::new(read)).with(&[])
            }
        }
    }

    fn keep(&self, id: &AskId, view: Arc<KvView>, time: Duration) -> Vec<(TableSchema, Option<u64>)> {
        let count = |table: &TableSchema| view.rows_cached(table).map(|rows| rows as u64);
        let tables = view.tables().iter().map(|table| ((**table).clone(), count(table))).collect();
        let now = Instant::now();
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, (until, _)| *until > now);
        views.insert(id.clone(), (now + time, view));
        tables
    }

    fn close(&self, id: &AskId) {
        self.views.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Runs a part of a plan, to its end.
    async fn run(&self, view: &AskId, request: Request) -> Result<(u64, Vec<u8>), RunError> {
        let view = {
            let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
            views.get(view).map(|(_, view)| Arc::clone(view)).ok_or(RunError::NoView)?
        };
        let held = MemoryConsumer::new("an answer").register(self.runtime.pool());
        let (sender, mut frames) = mpsc::channel(FRAMES);
        let executor = self.executor.clone();
        let running = self.runtime.spawn(async move { executor.run(Arc::new(request), view, sender).await });
        let mut bytes = Vec::new();
        let ended = loop {
            match frames.recv().await {
                Some(Frame::Bytes(chunk)) => {
                    held.try_grow(chunk.len()).map_err(|error| RunError::Memory(crate::error::text(&error)))?;
                    if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                        return Err(RunError::Memory(format!("an answer has more than {ANSWER_BYTES_MAX} bytes")));
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Some(Frame::End { rows }) => break Ok((rows, bytes)),
                Some(Frame::Failed(failure)) => {
                    break Err(match failure.kind {
                        Kind::Statement => RunError::Statement(failure.text),
                        Kind::Memory => RunError::Memory(failure.text),
                        Kind::Internal => RunError::Internal(failure.text),
                    });
                }
                None => break Err(RunError::Internal("its answer broke off before the end".into())),
            }
        };
        drop(running);
        ended
    }
}
