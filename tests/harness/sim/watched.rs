//! A replica's log and machine, with somebody who watches every step of them.

use std::fmt;
use std::hash::Hasher;
use std::io;
use std::sync::Arc;

use quorate::log::{Entry, Flushed, Full, LogState, LogStore};
use quorate::machine::{CommandVersion, Durable, StateDigest, Versions, encode};
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::Vote;
use quorate::{EntryContext, GroupId, Index, LogId, NodeId, StateMachine};
use twox_hash::XxHash3_64;

use super::invariants::Step;
use super::observer::Observer;

/// A log that is watched.
pub(super) struct WatchedLog {
    node: NodeId,
    group: GroupId,
    inner: Arc<dyn LogStore>,
    observer: Observer,
}

impl WatchedLog {
    pub(super) fn new(node: NodeId, group: GroupId, inner: Arc<dyn LogStore>, observer: Observer) -> Self {
        WatchedLog { node, group, inner, observer }
    }

    /// Judges what the log holds at the beginning of a life. What it cannot read is the replica's to find out.
    pub(super) async fn begin_life(&self) {
        let (Ok(state), Ok(vote)) = (self.inner.state().await, self.inner.vote().await) else { return };
        let Ok(entries) = self.inner.read(Index(0), Index(u64::MAX)).await else { return };
        self.observer.begins(self.node, self.group, state, &entries, vote);
    }

    fn step(&self, step: &Step<'_>) {
        self.observer.step(self.node, self.group, step);
    }
}

#[async_trait::async_trait]
impl LogStore for WatchedLog {
    async fn state(&self) -> io::Result<LogState> {
        self.inner.state().await
    }

    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>> {
        self.inner.read(from, to).await
    }

    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()> {
        self.step(&Step::Appended(&entries));
        let ids: Vec<LogId> = entries.iter().map(|entry| entry.id).collect();
        let (node, group, observer) = (self.node, self.group, self.observer.clone());
        let watched = Flushed::new(move |result| {
            if result.is_ok() {
                observer.step(node, group, &Step::Flushed(&ids));
            }
            flushed.complete(result);
        });
        self.inner.append(entries, watched).await
    }

    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()> {
        self.step(&Step::Truncated(last));
        self.inner.truncate_after(last).await
    }

    async fn purge(&self, through: LogId) -> io::Result<()> {
        self.step(&Step::Purged(through));
        self.inner.purge(through).await
    }

    async fn save_vote(&self, vote: Vote) -> io::Result<()> {
        self.step(&Step::Votes(vote));
        self.inner.save_vote(vote).await?;
        self.step(&Step::Voted(vote));
        Ok(())
    }

    async fn vote(&self) -> io::Result<Option<Vote>> {
        self.inner.vote().await
    }

    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.step(&Step::Committed(committed));
        }
        self.inner.save_committed(committed).await
    }

    async fn committed(&self) -> io::Result<Option<LogId>> {
        self.inner.committed().await
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn admits(&self, bytes: u64) -> Result<(), Full> {
        self.inner.admits(bytes)
    }
}

/// A machine that is watched: commands, queries and answers are the machine's own.
pub struct Watched<M> {
    machine: M,
    node: NodeId,
    group: GroupId,
    observer: Observer,
}

impl<M> fmt::Debug for Watched<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("node", &self.node).field("group", &self.group).finish_non_exhaustive()
    }
}

impl<M> Watched<M> {
    pub(super) fn new(machine: M, node: NodeId, group: GroupId, observer: Observer) -> Self {
        Watched { machine, node, group, observer }
    }

    /// The machine itself.
    pub fn inner(&self) -> &M {
        &self.machine
    }

    fn applies<T: serde::Serialize>(&self, at: EntryContext, command: &T) {
        let mut hasher = XxHash3_64::new();
        hasher.write(&encode(command));
        hasher.write_u64(at.time.0);
        self.observer.applied(self.node, self.group, at, hasher.finish());
    }
}

impl<M: StateMachine> StateMachine for Watched<M> {
    type Command = M::Command;
    type Reply = M::Reply;
    type Query = M::Query;
    type Answer = M::Answer;

    fn apply(&mut self, entry: EntryContext, command: M::Command) -> M::Reply {
        self.applies(entry, &command);
        self.machine.apply(entry, command)
    }

    fn versions(&self) -> Versions {
        self.machine.versions()
    }

    fn version_of(&self, command: &M::Command) -> CommandVersion {
        self.machine.version_of(command)
    }

    fn apply_as(&mut self, version: CommandVersion, entry: EntryContext, command: M::Command) -> M::Reply {
        self.applies(entry, &command);
        self.machine.apply_as(version, entry, command)
    }

    fn digest(&self) -> Option<StateDigest> {
        self.machine.digest()
    }

    fn query(&self, query: M::Query) -> M::Answer {
        self.machine.query(query)
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        self.machine.snapshot()
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.observer.step(self.node, self.group, &Step::Restored);
        self.machine.restore(reader)
    }

    fn durable(&self) -> Option<&dyn Durable> {
        self.machine.durable()
    }

    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        self.machine.durable_mut()
    }
}
