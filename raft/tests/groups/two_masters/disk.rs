//! A disk that flushes late and forgets what it had not flushed when its node crashes.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt;
use quorate::Index;
use quorate::log::{Entry, Flushed, LogState, LogStore, MemoryLog};
use quorate::types::{LogId, Vote};
use tokio::sync::oneshot;

use crate::common::World;

/// What is kept of a node's log between its lives.
#[derive(Clone)]
pub(crate) struct Disk {
    world: World,
    state: Arc<Mutex<State>>,
}

struct State {
    durable: MemoryLog,
    queue: VecDeque<Op>,
    flushing: bool,
    life: u64,
    delay_max: Duration,
    trap: Option<Trap>,
}

enum Op {
    Append(Vec<Entry>, Flushed),
    Truncate(Option<LogId>),
    Purge(LogId),
    Vote(Vote, oneshot::Sender<()>),
}

/// Crashes the disk at the next such operation, before it is durable or after.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trap {
    BeforeVote,
    AfterVote,
    BeforeAppend,
    AfterAppend,
}

/// A [`Disk`]'s log in one life of its node.
pub(crate) struct DiskLog {
    disk: Disk,
    life: u64,
    /// What this life has written, flushed or not.
    written: MemoryLog,
}

fn now<T>(ready: impl Future<Output = io::Result<T>>) -> T {
    ready.now_or_never().expect("a log in memory answers at once").unwrap()
}

fn apply(log: &MemoryLog, op: Op) -> Option<Flushed> {
    match op {
        Op::Append(entries, flushed) => {
            now(log.append(entries, Flushed::new(drop)));
            return Some(flushed);
        }
        Op::Truncate(last) => now(log.truncate_after(last)),
        Op::Purge(through) => now(log.purge(through)),
        Op::Vote(vote, done) => {
            now(log.save_vote(vote));
            return Some(Flushed::new(move |_| done.send(()).unwrap_or_default()));
        }
    }
    None
}

impl Disk {
    pub(crate) fn new(world: &World) -> Disk {
        let state = State {
            durable: MemoryLog::new(),
            queue: VecDeque::new(),
            flushing: false,
            life: 0,
            delay_max: Duration::from_millis(2),
            trap: None,
        };
        Disk { world: world.fork(), state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A flush takes up to so long from now on.
    pub(crate) fn slow_down(&self, delay_max: Duration) {
        self.state().delay_max = delay_max;
    }

    pub(crate) fn set(&self, trap: Trap) {
        self.state().trap = Some(trap);
    }

    /// Forgets what was not flushed, but for a random part of what was next. The log that was open is dead.
    pub(crate) fn crash(&self) {
        let mut state = self.state();
        state.life += 1;
        state.trap = None;
        let kept = self.world.below(state.queue.len() as u64 + 1);
        for _ in 0..kept {
            let Some(op) = state.queue.pop_front() else { break };
            // Durable, and nobody hears of it.
            drop(apply(&state.durable, op));
        }
        state.queue.clear();
    }

    /// Opens the log in a new life.
    pub(crate) fn open(&self) -> Arc<DiskLog> {
        let mut state = self.state();
        assert!(state.queue.is_empty(), "a life ends by a crash");
        state.life += 1;
        state.flushing = false;
        state.trap = None;
        let written = MemoryLog::new();
        let held = now(state.durable.state());
        held.purged.into_iter().for_each(|through| now(written.purge(through)));
        now(written.append(now(state.durable.read(Index(0), Index(u64::MAX))), Flushed::new(drop)));
        now(state.durable.vote()).into_iter().for_each(|vote| now(written.save_vote(vote)));
        Arc::new(DiskLog { disk: self.clone(), life: state.life, written })
    }

    /// The last entry that a crash would leave for certain.
    pub(crate) fn durable_last(&self) -> Option<LogId> {
        now(self.state().durable.state()).last
    }

    async fn flush(self, life: u64) {
        loop {
            let delay_max = self.state().delay_max.as_micros() as u64;
            self.world.sleep(Duration::from_micros(self.world.below(delay_max + 1))).await;
            let flushed: Vec<_> = {
                let mut state = self.state();
                if state.life != life {
                    return;
                }
                if state.queue.is_empty() {
                    state.flushing = false;
                    return;
                }
                let queue = std::mem::take(&mut state.queue);
                queue.into_iter().filter_map(|op| apply(&state.durable, op)).collect()
            };
            flushed.into_iter().for_each(|flushed| flushed.complete(Ok(())));
        }
    }
}

impl DiskLog {
    /// Queues what was written; it becomes durable in its turn.
    fn queue(&self, op: Op) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.life != self.life {
            return Err(io::Error::other("the node has crashed"));
        }
        let trapped = match (state.trap, &op) {
            (Some(Trap::BeforeVote), Op::Vote(..)) | (Some(Trap::BeforeAppend), Op::Append(..)) => Some(false),
            (Some(Trap::AfterVote), Op::Vote(..)) | (Some(Trap::AfterAppend), Op::Append(..)) => Some(true),
            _ => None,
        };
        if trapped != Some(false) {
            state.queue.push_back(op);
        }
        if let Some(durable) = trapped {
            let all: Vec<_> = state.queue.drain(..).collect();
            if durable {
                all.into_iter().for_each(|op| drop(apply(&state.durable, op)));
            }
            state.trap = None;
            state.life += 1;
            return Err(io::Error::other("the node has crashed"));
        }
        if !std::mem::replace(&mut state.flushing, true) {
            self.disk.world.env.spawn(Box::pin(self.disk.clone().flush(self.life)));
        }
        Ok(())
    }

    fn alive(&self) -> io::Result<()> {
        if self.disk.state().life == self.life { Ok(()) } else { Err(io::Error::other("the node has crashed")) }
    }
}

#[async_trait::async_trait]
impl LogStore for DiskLog {
    async fn state(&self) -> io::Result<LogState> {
        self.alive()?;
        self.written.state().await
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        self.alive()?;
        self.written.read(from, to).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        self.alive()?;
        self.written.append(entries.clone(), Flushed::new(drop)).await?;
        self.queue(Op::Append(entries, flushed))
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.alive()?;
        self.written.truncate_after(last).await?;
        self.queue(Op::Truncate(last))
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        self.alive()?;
        self.written.purge(through).await?;
        self.queue(Op::Purge(through))
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.queue(Op::Vote(vote, sender))?;
        receiver.await.map_err(|_| io::Error::other("the node has crashed"))?;
        self.written.save_vote(vote).await
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        self.alive()?;
        self.written.vote().await
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        self.alive()?;
        self.written.save_committed(committed).await
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        self.written.committed().await
    }

    fn bytes(&self) -> u64 {
        self.written.bytes()
    }
}
