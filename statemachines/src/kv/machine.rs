//! The state machine of a shard group: takes commands and questions to the part that knows them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use quorate::machine::{EntryContext, StateMachine};
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::{SnapshotReader, SnapshotView};

use super::command::{KvCommand, KvReply, NotServed};
use super::contents::Contents;
use super::query::{KvAnswer, KvQuery};
use super::snapshot;
use super::state::{Duty, State};
use super::transfer::Applied;
use super::value::Json;
use crate::names::ShardId;

/// A shard group's state machine. It starts without a configuration and serves nothing.
#[derive(Clone, Debug)]
pub struct KvMachine {
    state: State,
}

impl Default for KvMachine {
    fn default() -> Self {
        KvMachine::new(DEFAULT_TTL)
    }
}

impl KvMachine {
    /// A machine whose sessions expire after `session_ttl` of log time without use: the same on all replicas, and better
    /// the same on all groups, since sessions move with their shards.
    pub fn new(session_ttl: Duration) -> Self {
        KvMachine { state: State::new(session_ttl) }
    }

    /// The keys of a shard and their values, as they are now: for those who read a whole shard at once, where the machine
    /// is. Shares the machine's own map, so it costs nothing, and sees no later change.
    ///
    /// # Errors
    /// When the shard is not served here.
    pub fn keys(&self, shard: ShardId) -> Result<OrdMap<Arc<str>, Json>, NotServed> {
        self.state.served(shard).map(Contents::keys)
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
                Ok(contents) => KvAnswer::Value(contents.get(&key).cloned()),
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

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        snapshot::view(self.state.clone())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.state = snapshot::read(reader, self.state.session_ttl)?;
        Ok(())
    }
}
