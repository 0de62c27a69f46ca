//! A log that needs no storing: what its entry `index` says follows from the index.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate::machine::{Durable, EntryContext, StateMachine};
use quorate::sessions::Stamp;
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::types::{ClientId, Index, LogTime, Term};
use quorate::{GroupId, NodeId};
use quorate_statemachines::kv::{
    Configure, Json, KvCommand, KvDatabase, KvDatabaseOptions, KvMachine, KvOp, KvReply, StoreError,
};
use quorate_statemachines::{ConfigNumber, ShardId};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

pub(crate) const GROUP: GroupId = GroupId(3);
pub(crate) const TTL: Duration = Duration::from_secs(60);
pub(crate) const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// Small, so that little data has many tables.
pub(crate) fn small() -> KvDatabaseOptions {
    KvDatabaseOptions { cache_bytes: 1 << 20, overlay_bytes: 128 << 10, table_bytes: 128 << 10 }
}

pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("QUORATE_SEED") {
        Ok(text) => text.parse().expect("QUORATE_SEED is a number"),
        Err(_) => rand::random_range(0..1_000_000),
    };
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!(
        "seed {seed}; again: QUORATE_SEED={seed} cargo test -p quorate-statemachines --test durable -- --exact {name}"
    );
    seed
}

/// As many as the variable says, or `usual`.
pub(crate) fn how_many(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

pub(crate) fn config(number: u64, shards: &[u32]) -> KvCommand {
    KvCommand::Configure(Configure {
        number: ConfigNumber(number),
        previous: ConfigNumber(number - 1),
        shards: shards.iter().copied().map(ShardId).collect::<BTreeSet<_>>(),
        shard_count: 3,
        sources: Default::default(),
        targets: Default::default(),
    })
}

pub(crate) fn put(shard: u32, key: &str, text: &str) -> KvCommand {
    let op = KvOp::Put { key: key.into(), value: value(text) };
    KvCommand::Op { shard: ShardId(shard), session: None, op }
}

pub(crate) fn value(text: &str) -> Json {
    Json::parse(&format!("\"{text}\"")).unwrap()
}

/// What the entry says. Every hundredth makes shards come or go; those that go are kept, and come back as they were.
fn command(index: u64) -> KvCommand {
    let random = &mut SmallRng::seed_from_u64(index);
    if index % 100 == 1 {
        let sets: [&[u32]; 3] = [&[0, 1, 2], &[0, 1], &[0, 2]];
        return config(index / 100 + 1, sets[(index / 100 % 3) as usize]);
    }
    let shard = ShardId(random.random_range(0..3));
    let client = ClientId::new(format!("client {}", random.random_range(0..5)));
    if random.random_range(0..20) == 0 {
        return KvCommand::OpenSession { shard, client };
    }
    let key: Arc<str> = format!("key {}", random.random_range(0..2000)).into();
    let text = |random: &mut SmallRng| value(&"x".repeat(random.random_range(0..400)));
    let op = match random.random_range(0..10) {
        0..6 => KvOp::Put { key, value: text(random) },
        6..8 => KvOp::Append { key, value: value("more") },
        _ => KvOp::Delete { key },
    };
    let session = random.random_bool(0.5).then_some(Stamp { client, seq: index, acked: index.checked_sub(1000) });
    KvCommand::Op { shard, session, op }
}

/// Applies the entry.
pub(crate) fn apply(machine: &mut KvMachine, index: u64) -> KvReply {
    let entry = EntryContext { index: Index(index), place: 0, term: Term(1), time: LogTime(index) };
    machine.apply(entry, command(index))
}

pub(crate) fn open(dir: &Path) -> Result<(KvDatabase, KvMachine), StoreError> {
    open_with(dir, small())
}

pub(crate) fn open_with(dir: &Path, options: KvDatabaseOptions) -> Result<(KvDatabase, KvMachine), StoreError> {
    let database = KvDatabase::open(dir, options)?;
    let machine = KvMachine::open(&database, GROUP, TTL)?;
    Ok((database, machine))
}

/// How far a machine is that was opened.
pub(crate) fn position(machine: &KvMachine) -> u64 {
    let number = |envelope: Bytes| u64::from_be_bytes(envelope[..].try_into().unwrap());
    machine.persisted().map_or(0, number)
}

pub(crate) fn persist(machine: &mut KvMachine, at: u64) -> io::Result<()> {
    machine.freeze().run(Bytes::copy_from_slice(&at.to_be_bytes()))?;
    machine.settle();
    Ok(())
}

/// Takes its own snapshot in, as if it came from another node.
pub(crate) fn take_in(machine: &mut KvMachine, at: u64) -> io::Result<()> {
    let view = machine.snapshot();
    let mut reader = view.open();
    machine.intake().run(reader.as_mut(), Bytes::copy_from_slice(&at.to_be_bytes()))?;
    machine.settle();
    Ok(())
}

/// All bytes of a snapshot.
pub(crate) fn bytes_of(view: &dyn SnapshotView) -> io::Result<Vec<u8>> {
    let mut reader: Box<dyn SnapshotReader> = view.open();
    let mut all = Vec::new();
    while let Some(piece) = reader.next()? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}
