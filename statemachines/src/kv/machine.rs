//! The state machine of a shard group: takes commands and questions to the part that knows them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use quorate::GroupId;
use quorate::machine::{Durable, EntryContext, StateDigest, StateMachine};
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::{SnapshotReader, SnapshotView};

use super::command::{KvCommand, KvReply, NotServed};
use super::contents::Contents;
use super::durable::{self, Stored};
use super::query::{KvAnswer, KvQuery};
use super::snapshot;
use super::state::{Duty, State};
use super::store::{Blank, KvDatabase, StoreError};
use super::transfer::Applied;
use super::value::Json;
use super::view::ShardKeys;
use crate::names::ShardId;

/// A shard group's state machine. It starts without a configuration and serves nothing.
#[derive(Debug)]
pub struct KvMachine {
    pub(super) state: State,
    /// Where it is persisted, unless it is in memory.
    pub(super) stored: Option<Stored>,
}

impl Default for KvMachine {
    fn default() -> Self {
        KvMachine::new(DEFAULT_TTL)
    }
}

impl KvMachine {
    /// A machine whose sessions expire after `session_ttl` of log time without use: the same on all replicas, and better
    /// the same on all groups, since sessions move with their shards.
    ///
    /// It is in memory; [`KvMachine::open`] gives one that is on a disk.
    pub fn new(session_ttl: Duration) -> Self {
        KvMachine { state: State::new(Blank { session_ttl, space: None }), stored: None }
    }

    /// The machine of a group whose state is in `database`, as it was persisted last. Changes are kept in memory until the
    /// engine has them persisted (see [`quorate::machine::Durable`]); the log has them meanwhile. A machine that was opened
    /// on the same group before is of an earlier life, and can be persisted no more. Blocks: it reads the
    /// group's sessions.
    ///
    /// # Errors
    /// [`StoreError`] when what was persisted cannot be read.
    pub fn open(database: &KvDatabase, group: GroupId, session_ttl: Duration) -> Result<Self, StoreError> {
        durable::open(&database.0, group, session_ttl).map_err(|error| database.0.error(error))
    }

    /// The keys of a shard and their values, as they are now: for those who read a whole shard at once, where the machine
    /// is. Sees no later change. Of a machine in memory it shares the map, so it costs nothing; on a disk it reads the whole
    /// shard into memory, which [`KvMachine::shard`] does not.
    ///
    /// # Errors
    /// When the shard is not served here.
    pub fn keys(&self, shard: ShardId) -> Result<OrdMap<Arc<str>, Json>, NotServed> {
        self.state.served(shard).map(Contents::all)
    }

    /// A look at the keys of a shard, as they are now, that costs nothing until they are read, and sees no later change.
    ///
    /// # Errors
    /// When the shard is not served here.
    pub fn shard(&self, shard: ShardId) -> Result<ShardKeys, NotServed> {
        let fault = self.state.blank.space.as_ref().map(|space| space.fault.clone());
        self.state.served(shard).map(|contents| ShardKeys::new(contents.keys(), fault))
    }
}

impl StateMachine for KvMachine {
    type Command = KvCommand;
    type Reply = KvReply;
    type Query = KvQuery;
    type Answer = KvAnswer;

    fn apply(&mut self, entry: EntryContext, command: KvCommand) -> KvReply {
        let state = &mut self.state;
        state.applied = Applied { index: entry.index, time: state.applied.time.max(entry.time) };
        match command {
            KvCommand::Op { shard, session, op } => state.operate(shard, session, op),
            KvCommand::OpenSession { shard, client } => state.open_session(shard, &client),
            KvCommand::Configure(config) => {
                let outcome = state.configure(config);
                KvReply::Configured { outcome, in_transfer: state.in_transfer().collect() }
            }
            KvCommand::StageChunk { shard, number, chunk } => KvReply::Step(state.stage_chunk(shard, number, chunk)),
            KvCommand::StageDelta { shard, number, delta } => KvReply::Step(state.stage_delta(shard, number, delta)),
            KvCommand::Install { shard, number, delta } => KvReply::Step(state.install(shard, number, delta)),
            KvCommand::Freeze { shard, lost_at } => KvReply::Step(state.freeze(shard, lost_at)),
            KvCommand::Delete { shard, lost_at, to } => KvReply::Step(state.delete(shard, lost_at, to)),
            KvCommand::Sweep { shard, max_keys } => KvReply::Step(state.sweep(shard, max_keys)),
            KvCommand::Acknowledged { shard, lost_at, source } => {
                KvReply::Step(state.acknowledged(&Duty { shard, lost_at, source }))
            }
            KvCommand::Batch { shard, session, batch } => state.operate_batch(shard, session, &batch),
            KvCommand::Abandon { shard, number } => KvReply::Step(state.abandon(shard, number)),
        }
    }

    fn query(&self, query: KvQuery) -> KvAnswer {
        let state = &self.state;
        match query {
            KvQuery::Get { shard, key } => match state.served(shard) {
                Ok(contents) => KvAnswer::Value(contents.get(&key)),
                Err(refusal) => KvAnswer::NotServed(refusal),
            },
            KvQuery::Scan(scan) => match state.served(scan.shard) {
                Ok(contents) => {
                    let (items, more) = contents.scan(&scan);
                    KvAnswer::Items { items, more }
                }
                Err(refusal) => KvAnswer::NotServed(refusal),
            },
            KvQuery::Status => KvAnswer::Status(state.status()),
            KvQuery::Work => KvAnswer::Work(state.work()),
            KvQuery::PullChunk { shard, pull, after, max_bytes } => {
                KvAnswer::Pulled(state.pull_chunk(shard, &pull, after, max_bytes))
            }
            KvQuery::PullDelta { shard, pull, from, max_bytes } => {
                KvAnswer::Pulled(state.pull_delta(shard, &pull, from, max_bytes))
            }
            KvQuery::Installed { shard, source, lost_at } => {
                KvAnswer::Installed(state.has_installed(shard, &source, lost_at))
            }
        }
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot::digest(self.state.clone()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        snapshot::view(self.state.clone())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        let state = snapshot::read(reader, self.state.blank.clone())?;
        let outdated = std::mem::replace(&mut self.state, state);
        if let Some(stored) = &self.stored {
            stored.free(outdated);
        }
        Ok(())
    }

    fn durable(&self) -> Option<&dyn Durable> {
        self.stored.is_some().then_some(self)
    }

    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        self.stored.is_some().then_some(self)
    }
}
