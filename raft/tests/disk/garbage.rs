//! What nobody needs any more goes; what a lagging group needs does not keep the rest.

use std::path::Path;

use quorate::GroupId;
use quorate::fs::{Fs, Metadata, SimFs};
use quorate::log::DiskLogOptions;
use quorate::types::Index;

use crate::driver::{DIR, Driver, open, run, settle, small};
use crate::model::{Model, id};

fn options() -> DiskLogOptions {
    DiskLogOptions { segment_bytes: 4096, queue_bytes: 1024, ..small() }
}

/// Bytes of all files together.
fn size(disk: &SimFs) -> u64 {
    let dir = Path::new(DIR);
    let sizes = disk.list(dir).unwrap().into_iter().map(|name| match disk.metadata(&dir.join(name)).unwrap() {
        Some(Metadata::File { bytes }) => bytes,
        other => panic!("{other:?}"),
    });
    sizes.sum()
}

#[test]
fn disk_use_and_rewriting_are_bounded_however_far_some_groups_lag() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
        // Ten groups that never purge, with a little each, ...
        for lagging in 100..110 {
            driver.append(GroupId(lagging), 1, 0, &[100, 100, 100]).await.unwrap();
            settle().await;
        }
        // ... and one that goes on and on, and purges behind itself.
        for round in 0..600 {
            driver.append(GroupId(1), 1, round, &[200]).await.unwrap();
            driver.purge(GroupId(1), id(1, round.saturating_sub(5))).await.unwrap();
            settle().await;
            let usage = driver.log.usage();
            let bound = 2 * usage.live_bytes + 2 * 4096;
            assert!(usage.bytes <= bound + 4096, "{usage:?} in round {round}");
            // The current segment and the next one are allocated whole, and two used ones are kept.
            assert!(size(&disk) <= bound + 6 * 4096, "{} bytes with {usage:?} in round {round}", size(&disk));
        }
        let usage = driver.log.usage();
        assert!(usage.rewritten_bytes > 0, "{usage:?}");
        assert!(usage.rewritten_bytes <= usage.written_bytes / 2, "{usage:?}");
        assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now);
        driver.log.close().await;
        let log = open(disk.restart(), options()).unwrap();
        assert_eq!(Model::read(&log).await.unwrap(), driver.now);
    });
}

#[test]
fn a_forgotten_group_leaves_nothing_and_may_come_again() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
        for start in 0..50 {
            driver.append(GroupId(1), 3, start, &[300]).await.unwrap();
        }
        driver.vote(GroupId(1), 3).await.unwrap();
        driver.append(GroupId(2), 1, 0, &[10]).await.unwrap();
        driver.forget(GroupId(1)).await.unwrap();
        settle().await;
        assert_eq!(driver.log.groups(), [GroupId(2)]);
        assert!(driver.log.usage().segments <= 4, "{:?}", driver.log.usage());
        let group = driver.group(GroupId(1));
        assert_eq!((group.vote().await.unwrap(), group.bytes()), (None, 0));
        driver.append(GroupId(1), 1, 0, &[10]).await.unwrap();
        driver.vote(GroupId(1), 1).await.unwrap();
        driver.log.close().await;
        let log = open(disk.restart(), options()).unwrap();
        assert_eq!(Model::read(&log).await.unwrap(), driver.now);
    });
}

#[test]
fn the_entries_at_hand_stay_within_their_bound_and_older_ones_are_read_from_disk() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk, options()).unwrap()).await;
        for start in 0..200 {
            driver.append(GroupId(start % 7), 1, start / 7, &[90]).await.unwrap();
            let held = driver.log.usage().cached_bytes;
            assert!(held <= 600 + 1024 + 200, "{held} bytes at hand");
        }
        settle().await;
        assert!(driver.log.usage().cached_bytes <= 600);
        assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now);
        let read = driver.group(GroupId(3)).read(Index(5), Index(9)).await.unwrap();
        assert_eq!(read, driver.now.group(GroupId(3)).entries[5..9]);
    });
}

#[test]
fn ten_thousand_groups_share_one_log() {
    run(|| async {
        const GROUPS: u64 = 10_000;
        let disk = SimFs::new();
        let options = DiskLogOptions { segment_bytes: 1 << 20, garbage_segments: 2, ..DiskLogOptions::default() };
        let mut driver = Driver::begin(open(disk.clone(), options.clone()).unwrap()).await;
        for round in 0..3 {
            for group in (0..GROUPS).map(GroupId) {
                driver.append(group, 1, round, &[20]).await.unwrap();
            }
        }
        settle().await;
        assert_eq!(driver.durable.load(std::sync::atomic::Ordering::Relaxed) as u64, 3 * GROUPS);
        for group in (0..GROUPS).map(GroupId) {
            driver.purge(group, id(1, 1)).await.unwrap();
        }
        driver.vote(GroupId(77), 9).await.unwrap();
        driver.log.close().await;
        let log = open(disk.restart(), options).unwrap();
        assert_eq!(log.groups().len() as u64, GROUPS);
        assert_eq!(Model::read(&log).await.unwrap(), driver.now);
    });
}

#[test]
fn a_log_that_is_opened_again_and_again_does_not_fall_to_pieces() {
    run(|| async {
        let mut disk = SimFs::new();
        for life in 0..150 {
            let mut driver = Driver::begin(open(disk.clone(), options()).unwrap()).await;
            driver.append(GroupId(life % 5), 1, life / 5, &[10]).await.unwrap();
            settle().await;
            assert!(driver.log.usage().segments <= 75, "{:?}", driver.log.usage());
            assert_eq!(Model::read(&driver.log).await.unwrap(), driver.now);
            disk = disk.restart();
        }
        let log = open(disk, options()).unwrap();
        assert_eq!(Model::read(&log).await.unwrap().group(GroupId(2)).entries.len(), 30);
    });
}
