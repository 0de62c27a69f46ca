//! What the database says of its own files.

use std::time::Duration;

use super::super::chain::LENGTH;
use super::*;

fn small() -> KvDatabaseOptions {
    KvDatabaseOptions { cache_bytes: 1 << 20, overlay_bytes: 64 << 10, table_bytes: 64 << 10 }
}

fn opened(dir: &Path) -> Result<KvDatabase, StoreError> {
    KvDatabase::open(dir, small())
}

fn numbers(database: &KvDatabase) -> Vec<u64> {
    let records = database.0.keyspace.range(layout::chain_range());
    records.map(|record| layout::chain_number(&record.key().unwrap()).unwrap()).collect()
}

#[test]
fn a_database_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = opened(dir.path()).unwrap();
    assert!(matches!(opened(dir.path()), Err(StoreError::Locked(_))));
    drop(first);
    opened(dir.path()).unwrap();
}

#[test]
fn a_database_of_another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()).unwrap());
    fs::write(dir.path().join("format"), "quorate kv 2\n").unwrap();
    let refused = opened(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("quorate kv 2"), "{refused}");
}

#[test]
fn a_database_whose_content_is_gone_is_not_taken_for_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(opened(dir.path()).unwrap());
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    assert!(matches!(opened(dir.path()), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_batch_that_is_missing_under_newer_ones_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let database = opened(dir.path()).unwrap();
    for _ in 0..10 {
        database.0.commit(database.0.batch(GroupId(1)), true).unwrap();
    }
    let forged = layout::chain_record(0, 4);
    database.0.keyspace.insert(layout::chain(5), forged).unwrap();
    drop(database);
    let refused = opened(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("batch 5 is missing"), "{refused}");
}

#[test]
fn a_batch_that_lies_over_the_next_one_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let database = opened(dir.path()).unwrap();
    for _ in 0..10 {
        database.0.commit(database.0.batch(GroupId(1)), true).unwrap();
    }
    let again = layout::chain_record(0, 9);
    (9..11).for_each(|number| database.0.keyspace.insert(layout::chain(number), again).unwrap());
    drop(database);
    assert!(matches!(opened(dir.path()), Err(StoreError::Damaged { .. })));
}

#[test]
fn the_newest_batches_may_be_missing_as_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let database = opened(dir.path()).unwrap();
    for _ in 0..10 {
        database.0.commit(database.0.batch(GroupId(1)), true).unwrap();
    }
    (8..12).for_each(|number| database.0.keyspace.remove(layout::chain(number)).unwrap());
    database.0.keyspace.insert(layout::chain(8), layout::chain_record(0, 7)).unwrap();
    drop(database);
    assert_eq!(numbers(&opened(dir.path()).unwrap()), (0..=8).collect::<Vec<_>>());
}

#[test]
fn the_chain_stays_short_however_many_batches_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let database = opened(dir.path()).unwrap();
    for _ in 0..4 * LENGTH {
        database.0.commit(database.0.batch(GroupId(1)), false).unwrap();
    }
    // The janitor comes to it by and by; what is dispensable goes with the next batch.
    while numbers(&database).len() as u64 > 2 * LENGTH {
        std::thread::sleep(Duration::from_millis(5));
        database.0.commit(database.0.batch(GroupId(1)), false).unwrap();
    }
    drop(database);
    let database = opened(dir.path()).unwrap();
    let numbers = numbers(&database);
    assert!(numbers.len() as u64 <= 2 * LENGTH + 2, "{} records", numbers.len());
    assert!(numbers.is_sorted() && *numbers.last().unwrap() >= 4 * LENGTH);
}
