//! A full disk: entries are refused before anything is damaged, votes go on, and service resumes when space returns.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::GroupId;
use quorate::fs::{Fs, SimFs};
use quorate::log::{DiskLogOptions, Flushed, LogStore};

use crate::driver::{DIR, Driver, open, run, settle, small};
use crate::model::{Model, entry, id};

/// Nothing is rewritten, so that only purges make room.
fn options() -> DiskLogOptions {
    DiskLogOptions { segment_bytes: 4096, queue_bytes: 1024, reserve_bytes: 1024, garbage_factor: 1000, ..small() }
}

const CAPACITY: u64 = 40_000;

/// A log that has been written to until it was full.
async fn full() -> (SimFs, Driver) {
    let disk = SimFs::new();
    disk.set_capacity(Some(CAPACITY));
    let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
    let group = driver.group(GroupId(1));
    while group.admits(100).is_ok() {
        let end = driver.now.group(GroupId(1)).end();
        driver.append(GroupId(1), 1, end, &[100]).await.unwrap();
        settle().await;
    }
    assert!(disk.free_space(Path::new(DIR)).unwrap() < 4096 + 1024);
    (disk, driver)
}

/// Asks until entries are welcome again.
async fn is_admitted_again(group: &dyn LogStore) -> bool {
    for _ in 0..10 {
        if group.admits(100).is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    false
}

async fn next_life_is_the_same(disk: SimFs, driver: Driver) {
    settle().await;
    assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now);
    driver.log.close().await;
    let log = open(disk.restart(), options()).unwrap();
    assert_eq!(Model::read(&log).await.unwrap(), driver.now);
}

#[test]
fn a_full_disk_refuses_entries_and_still_takes_votes_truncations_and_purges() {
    run(|| async {
        let (disk, mut driver) = full().await;
        let group = driver.group(GroupId(1));
        let text = group.admits(1).unwrap_err().to_string();
        assert!(text.starts_with("the log's disk is full: "), "{text}");
        // What was under way when the disk became full still finds room, within bounds, ...
        let refused = loop {
            let end = driver.now.group(GroupId(1)).end();
            if let Err(error) = driver.append(GroupId(1), 1, end, &[100]).await {
                break error;
            }
            settle().await;
        };
        assert_eq!(refused.kind(), ErrorKind::StorageFull, "{refused}");
        settle().await;
        assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now, "a refusal changes nothing");
        // ... and votes after that.
        for term in 0..5 {
            driver.vote(GroupId(term), term).await.unwrap();
        }
        let end = driver.now.group(GroupId(1)).end();
        driver.truncate(GroupId(1), Some(id(1, end - 2))).await.unwrap();
        driver.purge(GroupId(1), id(1, 1)).await.unwrap();
        next_life_is_the_same(disk, driver).await;
    });
}

#[test]
fn entries_are_welcome_again_when_somebody_else_makes_room() {
    run(|| async {
        let (disk, mut driver) = full().await;
        let group = driver.group(GroupId(1));
        assert!(!is_admitted_again(&*group).await);
        disk.set_capacity(Some(CAPACITY * 2));
        assert!(is_admitted_again(&*group).await);
        for _ in 0..60 {
            let end = driver.now.group(GroupId(1)).end();
            driver.append(GroupId(1), 1, end, &[100]).await.unwrap();
            settle().await;
        }
        next_life_is_the_same(disk, driver).await;
    });
}

#[test]
fn a_purge_makes_room_on_a_full_disk() {
    run(|| async {
        let (disk, mut driver) = full().await;
        let end = driver.now.group(GroupId(1)).end();
        driver.purge(GroupId(1), id(1, end / 2)).await.unwrap();
        settle().await;
        assert!(driver.group(GroupId(1)).admits(100).is_ok(), "without anybody asking");
        next_life_is_the_same(disk, driver).await;
    });
}

#[test]
fn a_log_opens_on_a_full_disk_and_takes_votes() {
    run(|| async {
        let (disk, driver) = full().await;
        driver.log.close().await;
        let disk = disk.restart();
        let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
        driver.vote(GroupId(1), 8).await.unwrap();
        let end = driver.now.group(GroupId(1)).end();
        driver.purge(GroupId(1), id(1, end / 2)).await.unwrap();
        settle().await;
        assert!(is_admitted_again(&*driver.group(GroupId(1))).await);
        next_life_is_the_same(disk, driver).await;
    });
}

#[test]
fn an_append_that_is_larger_than_a_segment_gets_one_of_its_own() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
        for (at, bytes) in [10_000, 5, 50_000, 4096, 4000, 3000].into_iter().enumerate() {
            driver.append(GroupId(1), 1, at as u64, &[bytes]).await.unwrap();
        }
        disk.set_capacity(Some(180_000));
        let error = driver.append(GroupId(1), 1, 6, &[200_000]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        driver.group(GroupId(1)).admits(100).expect("there is room for what is usual");
        driver.append(GroupId(1), 1, 6, &[100]).await.unwrap();
        next_life_is_the_same(disk, driver).await;
    });
}

#[test]
fn appends_wait_for_room_in_the_queue_and_a_large_one_is_not_passed_for_ever() {
    run(|| async {
        let log = open(SimFs::new(), options()).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let small = (0..8).map(|number| {
            let (group, is_over) = (log.group(GroupId(number)), Arc::clone(&is_over));
            tokio::spawn(async move {
                let mut index = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let flushed = Flushed::new(|result| result.unwrap());
                    group.append(vec![entry(1, index, 300)], flushed).await.unwrap();
                    index += 1;
                }
                index
            })
        });
        let small: Vec<_> = small.collect();
        // Time stands still as long as somebody has something to do.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let large = log.group(GroupId(100));
        large.append(vec![entry(1, 0, 2500)], Flushed::new(|result| result.unwrap())).await.unwrap();
        is_over.store(true, Ordering::Relaxed);
        for small in small {
            assert!(small.await.unwrap() > 0);
        }
    });
}
