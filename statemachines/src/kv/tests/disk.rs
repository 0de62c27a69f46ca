//! Machines on a disk: where the tests keep them, and claims about them alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate::GroupId;
use quorate::machine::Backlog;
use quorate::sessions::DEFAULT_TTL;
use quorate::snapshot::SnapshotView;
use quorate::types::ClientId;
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

/// The copies that are in the database, and those that the state refers to.
fn copies(place: &Place, machine: &KvMachine) -> (usize, usize) {
    let stored = place.0.0.copies(place.1).unwrap();
    let live =
        machine.state.copies().filter_map(|(contents, _)| contents.disk()).filter(|disk| stored.contains(&disk.copy));
    (stored.len(), live.count())
}

/// Waits until nothing is stored that the state does not refer to.
fn swept(place: &Place, machine: &KvMachine) {
    let begun = std::time::Instant::now();
    while copies(place, machine).0 > copies(place, machine).1 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{:?} copies are stored, and are live",
            copies(place, machine)
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_shard_given_up_leaves_the_disk_and_a_view_of_it_is_still_whole() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let mut group = place.bench();
    group.configure(config(1, 0, &[0, 1]));
    for number in 0..10_000 {
        group.put(0, &format!("key {number}"), number);
    }
    persist(&mut group.machine, 1);
    assert_eq!(copies(&place, &group.machine), (1, 1));
    let view = group.machine.snapshot();
    let whole = bytes_of(&*view);
    group.configure(config(2, 1, &[1]).to(0, "g2"));
    group.step(KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(2) });
    group.step(KvCommand::Delete { shard: ShardId(0), lost_at: ConfigNumber(2), to: gid("g2") });
    assert_eq!(copies(&place, &place.bench().machine), (1, 1), "what is not persisted is not done");
    let mut group = Bench { machine: place.open(DEFAULT_TTL), ..group };
    group.configure(config(2, 1, &[1]).to(0, "g2"));
    group.step(KvCommand::Freeze { shard: ShardId(0), lost_at: ConfigNumber(2) });
    group.step(KvCommand::Delete { shard: ShardId(0), lost_at: ConfigNumber(2), to: gid("g2") });
    persist(&mut group.machine, 2);
    swept(&place, &group.machine);
    assert_eq!(copies(&place, &group.machine), (0, 0));
    assert!(bytes_of(&*view) == whole, "a view sees no later change");
    assert_eq!(group.step(KvCommand::Sweep { shard: ShardId(0), max_keys: 20_000 }), Step::Swept { left: 0 });
}

#[test]
fn what_an_unfinished_snapshot_left_is_removed_at_the_next_start() {
    let (_dir, database) = database();
    let (source, place) = (Place::new(&database), Place::new(&database));
    let (mut full, mut group) = (source.bench(), place.bench());
    for bench in [&mut full, &mut group] {
        bench.configure(config(1, 0, &[0, 1, 2]));
        bench.put(0, "a", 1);
    }
    for number in 0..3_000 {
        full.put(number as u32 % 3, &format!("key {number}"), number);
    }
    persist(&mut group.machine, 1);
    let before = bytes_of(&*group.machine.snapshot());
    let mut cut = bytes_of(&*full.machine.snapshot());
    cut.truncate(cut.len() * 3 / 4);
    assert!(group.machine.intake().run(&mut Pieces(cut), position(2)).is_err());
    assert!(copies(&place, &group.machine).0 > 1, "some of it was written");

    let again = place.bench();
    assert_eq!(again.machine.persisted(), Some(position(1)));
    assert!(bytes_of(&*again.machine.snapshot()) == before);
    swept(&place, &again.machine);
    assert_eq!(copies(&place, &again.machine), (1, 1));
}

#[test]
fn a_forgotten_group_leaves_nothing_and_its_neighbours_stay() {
    let (_dir, database) = database();
    let places = [Place::new(&database), Place::new(&database)];
    let mut groups = places.each_ref().map(Place::bench);
    for group in &mut groups {
        group.configure(config(1, 0, &[0]));
        group.put(0, "a", 1);
        persist(&mut group.machine, 1);
    }
    database.forget(places[0].1).unwrap();
    assert!(groups[0].machine.freeze().run(position(2)).is_err(), "nobody brings it back");
    let again = places[0].bench();
    assert_eq!(again.machine.persisted(), None);
    swept(&places[0], &again.machine);
    let neighbour = places[1].bench();
    assert_eq!(neighbour.get(0, "a"), KvAnswer::Value(Some(json(1))));
}

#[test]
fn a_look_at_a_shard_on_a_disk_sees_no_later_change_persisted_or_not() {
    let (_dir, database) = database();
    let mut group = Place::new(&database).bench();
    group.configure(config(1, 0, &[0]));
    (0..500).for_each(|number| drop(group.put(0, &format!("key {number:03}"), 1)));
    persist(&mut group.machine, 1);
    (400..600).for_each(|number| drop(group.put(0, &format!("key {number:03}"), 2)));
    let (look, copy) = (group.machine.shard(ShardId(0)).unwrap(), group.machine.keys(ShardId(0)).unwrap());
    (0..600).for_each(|number| drop(group.delete(0, &format!("key {number:03}"))));
    persist(&mut group.machine, 2);
    group.put(0, "key 000", 3);

    let seen: Vec<_> = look.range(std::ops::Bound::Unbounded).map(|item| item.unwrap()).collect();
    assert_eq!(look.len(), 600);
    assert_eq!(seen, copy.into_iter().collect::<Vec<_>>());
    let expected = (0..600).map(|number| (key(&format!("key {number:03}")), json(if number < 400 { 1 } else { 2 })));
    assert!(seen.into_iter().eq(expected));
    assert_eq!(look.get("key 599").unwrap(), Some(json(2)));
    let rest = look.range(std::ops::Bound::Excluded("key 597")).map(|item| item.unwrap().0.to_string());
    assert_eq!(rest.collect::<Vec<_>>(), ["key 598", "key 599"]);
}

#[test]
fn what_waits_in_memory_is_told_and_goes_when_it_is_persisted() {
    let (_dir, database) = database();
    let mut group = Place::new(&database).bench();
    group.configure(config(1, 0, &[0]));
    assert_eq!(group.machine.backlog(), Backlog::Little);
    let (mut number, mut told) = (0, vec![Backlog::Little]);
    while *told.last().unwrap() != Backlog::TooMuch {
        number += 1;
        group.put(0, &format!("key {number}"), number);
        let backlog = group.machine.backlog();
        if told.last() != Some(&backlog) {
            told.push(backlog);
        }
    }
    assert_eq!(told, [Backlog::Little, Backlog::Much, Backlog::TooMuch]);
    persist(&mut group.machine, 1);
    assert_eq!(group.machine.backlog(), Backlog::Little);
}

#[test]
fn sessions_that_come_change_and_go_are_persisted_by_what_changed() {
    let (_dir, database) = database();
    let place = Place::new(&database);
    let mut group = place.bench();
    group.configure(config(1, 0, &[0]));
    for round in 0..6u64 {
        for number in 0..30 {
            group.apply(KvCommand::OpenSession {
                shard: ShardId(0),
                client: ClientId::new(format!("c{}", number + round * 10)),
            });
        }
        group.time += DEFAULT_TTL.as_millis() as u64 / 2;
        persist(&mut group.machine, round as usize);
        let again = place.open(DEFAULT_TTL);
        assert!(bytes_of(&*again.snapshot()) == bytes_of(&*group.machine.snapshot()), "round {round}");
        group.machine = again;
    }
}
