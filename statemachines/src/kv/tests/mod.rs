//! Tests of the whole machine: single steps as claims, and random worlds of several groups.

mod batches;
mod bench;
mod digests;
mod disk;
mod handoff;
mod model;
mod moves;
mod steps;
mod world;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate::machine::{Durable, EntryContext, StateMachine};
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::{Index, LogTime, Term};
use serde_json::Value;

use super::*;
use crate::names::{ConfigNumber, Gid, ShardId};

/// The text of a JSON value, from a Rust one.
pub(super) fn json(value: impl Into<Value>) -> Json {
    Json::from(&value.into())
}

pub(super) fn key(name: &str) -> Arc<str> {
    Arc::from(name)
}

pub(super) fn gid(name: &str) -> Gid {
    Gid::new(name)
}

pub(super) fn entry(index: u64, time: u64) -> EntryContext {
    EntryContext { index: Index(index), place: 0, term: Term(1), time: LogTime(time) }
}

/// All bytes of a snapshot.
pub(super) fn bytes_of(view: &dyn SnapshotView) -> Vec<u8> {
    let mut reader = view.open();
    let mut all = Vec::new();
    while let Some(piece) = reader.next().unwrap() {
        all.extend_from_slice(&piece);
    }
    all
}

/// The digest of a machine's state.
pub(super) fn digest_of(machine: &KvMachine) -> u64 {
    machine.digest().and_then(|digest| digest()).expect("a digest")
}

/// A snapshot that comes in small pieces.
pub(super) struct Pieces(pub(super) Vec<u8>);

impl SnapshotReader for Pieces {
    fn next(&mut self) -> io::Result<Option<bytes::Bytes>> {
        let rest = self.0.split_off(self.0.len().min(100));
        let piece = std::mem::replace(&mut self.0, rest);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

/// The same state in a new machine, by way of a snapshot.
pub(super) fn restored(machine: &KvMachine, session_ttl: Duration) -> KvMachine {
    let mut copy = KvMachine::new(session_ttl);
    copy.restore(&mut Pieces(bytes_of(&*machine.snapshot()))).unwrap();
    copy
}
