//! Machines on a disk: where the tests keep them, and claims about them alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate::GroupId;
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::SnapshotView;
use tempfile::TempDir;

use super::bench::{Bench, config};
use super::*;

/// Small, so that little data has tables of its own.
pub(super) fn small() -> KvDatabaseOptions {
    KvDatabaseOptions { cache_bytes: 1 << 20, overlay_bytes: 64 << 10, table_bytes: 64 << 10 }
}

/// A database of this test's.
pub(super) fn database() -> (TempDir, KvDatabase) {
    let dir = tempfile::tempdir().unwrap();
    let database = KvDatabase::open(dir.path(), small()).unwrap();
    (dir, database)
}

/// The database of all random worlds.
pub(super) fn shared() -> &'static KvDatabase {
    static SHARED: OnceLock<(TempDir, KvDatabase)> = OnceLock::new();
    &SHARED.get_or_init(database).1
}

/// A group's place in a database.
pub(super) struct Place(KvDatabase, GroupId);

impl Place {
    /// Of a group that nobody else has.
    pub(super) fn new(database: &KvDatabase) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Place(database.clone(), GroupId(NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(super) fn open(&self, session_ttl: Duration) -> KvMachine {
        KvMachine::open(&self.0, self.1, session_ttl).unwrap()
    }

    pub(super) fn bench(&self) -> Bench {
        Bench { name: gid("g1"), machine: self.open(DEFAULT_TTL), index: 0, time: 0 }
    }
}

/// An envelope that says how far a machine is.
pub(super) fn position(at: usize) -> Bytes {
    Bytes::copy_from_slice(&(at as u64).to_be_bytes())
}

pub(super) fn position_of(envelope: &[u8]) -> usize {
    u64::from_be_bytes(envelope.try_into().unwrap()) as usize
}

pub(super) fn persist(machine: &mut KvMachine, at: usize) {
    machine.freeze().run(position(at)).unwrap();
    machine.settle();
}

pub(super) fn take_in(machine: &mut KvMachine, view: &dyn SnapshotView, envelope: Bytes) {
    let taken = machine.intake().run(&mut Pieces(bytes_of(view)), envelope).unwrap();
    machine.settle();
    assert_eq!(bytes_of(&*taken), bytes_of(view), "what was taken in is what was given");
    assert_eq!(bytes_of(&*machine.snapshot()), bytes_of(view), "and is the state");
}

#[test]
fn what_is_not_persisted_is_gone_after_a_crash_and_what_is_is_there() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let mut group = place.bench();
    assert_eq!(group.machine.persisted(), None);
    group.configure(config(1, 0, &[0]));
    group.put(0, "a", 1);
    persist(&mut group.machine, 2);
    let persisted = bytes_of(&*group.machine.snapshot());
    group.put(0, "a", 2);
    group.put(0, "b", 2);

    let again = place.bench();
    assert_eq!(again.machine.persisted(), Some(position(2)));
    assert_eq!(bytes_of(&*again.machine.snapshot()), persisted);
    assert_eq!(again.get(0, "b"), KvAnswer::Value(None));
}

#[test]
fn a_machine_of_an_earlier_life_cannot_be_persisted_over_a_later_one() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let mut first = place.bench();
    first.configure(config(1, 0, &[0]));
    let late = first.machine.freeze();
    let second = place.bench();
    assert!(late.run(position(1)).is_err());
    assert!(first.machine.fault().is_none(), "nothing is wrong with the store");
    assert_eq!(second.machine.persisted(), None);
    assert_eq!(place.bench().machine.persisted(), None);
}

#[test]
fn keys_of_any_length_are_kept_in_their_order() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let (mut group, mut model) = (place.bench(), Bench::new("g1"));
    let long = |tail: &str| format!("{}{tail}", "é".repeat(40_000));
    let names = ["a".into(), long(""), long("b"), long("a"), "é".repeat(29_999), "é".repeat(30_000), "z".into()];
    for bench in [&mut group, &mut model] {
        bench.configure(config(1, 0, &[0]));
        for name in &names {
            bench.put(0, name, name.len() as i64);
        }
        bench.delete(0, &names[2]);
    }
    persist(&mut group.machine, 1);
    let again = place.bench();
    assert_eq!(again.scan(0), model.scan(0));
    assert_eq!(bytes_of(&*again.machine.snapshot()), bytes_of(&*model.machine.snapshot()));
    for name in &names {
        assert_eq!(again.get(0, name), model.get(0, name));
        let after = Scan { shard: ShardId(0), from: Some(key(&format!("{name}\0"))), ..Default::default() };
        assert_eq!(
            again.machine.query(KvQuery::Scan(after.clone())),
            model.machine.query(KvQuery::Scan(after)),
            "after a key of {} bytes",
            name.len()
        );
    }
}
