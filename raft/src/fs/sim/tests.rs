//! What a crash may take, and what it may not.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use super::*;
use crate::fs::{create_dir_durably, read_whole, replace_durably};

const SEEDS: std::ops::Range<u64> = 0..300;

fn path(name: &str) -> PathBuf {
    Path::new("/").join(name)
}

/// A disk with one durable file of this content, open.
fn with_file(content: &[u8]) -> (SimFs, Box<dyn File>) {
    let fs = SimFs::new();
    let file = fs.open(&path("f"), OpenMode::Create).unwrap();
    file.write_at(content, 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(&path("")).unwrap();
    (fs, file)
}

fn content(fs: &SimFs) -> Vec<u8> {
    read_whole(fs, &path("f")).unwrap()
}

#[test]
fn what_was_synced_survives_every_crash() {
    for style in [CrashStyle::Prefix, CrashStyle::Scattered] {
        for seed in SEEDS {
            let (fs, file) = with_file(b"synced");
            file.write_at(b", not synced", 6).unwrap();
            let after = content(&fs.crash_as(seed, style));
            assert_eq!(&after[..6], b"synced", "seed {seed}");
            let rest: &[u8] = &after[6..];
            let torn = rest.iter().zip(b", not synced").all(|(byte, written)| byte == written || *byte == 0);
            assert!(torn && rest.len() <= 12, "seed {seed}: {rest:?}");
        }
    }
}

#[test]
fn unsynced_writes_survive_as_a_prefix_torn_zeroed_or_not_at_all() {
    let mut seen = BTreeSet::new();
    for seed in SEEDS {
        let (fs, file) = with_file(b"");
        for i in 0..4u8 {
            file.write_at(&[i + 1; 600], u64::from(i) * 600).unwrap();
        }
        let after = content(&fs.crash(seed));
        let kept = after.iter().take_while(|byte| **byte != 0).count();
        assert!((0..kept).all(|at| after[at] == (at / 600) as u8 + 1), "seed {seed}: a prefix of what was written");
        assert!(after[kept..].iter().all(|byte| *byte == 0), "seed {seed}: and nothing but zeros after it");
        assert!(after.len() <= (kept / 600 + 1) * 600, "seed {seed}: in one write only");
        seen.insert(match (kept, after.len() - kept) {
            (0, 0) => "nothing",
            (2400, _) => "everything",
            (kept, 0) if kept % 600 == 0 => "whole writes",
            (_, 0) => "torn",
            _ => "zeroed",
        });
    }
    assert_eq!(seen.len(), 5, "every kind occurs: {seen:?}");
}

#[test]
fn a_scattering_crash_may_keep_a_later_sector_without_an_earlier_one() {
    let holes = SEEDS.filter(|seed| {
        let (fs, file) = with_file(&[0; 2048]);
        file.write_at(&[9; 2048], 0).unwrap();
        let after = content(&fs.crash_as(*seed, CrashStyle::Scattered));
        let sectors: Vec<u8> = after.chunks(512).map(|sector| sector[0]).collect();
        assert!(after.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])), "sectors are whole");
        sectors.is_sorted() && sectors.contains(&0) && sectors.contains(&9)
    });
    assert!(holes.count() > 10);
}

#[test]
fn a_new_file_survives_only_when_its_directory_was_synced() {
    let survivors = SEEDS.filter(|seed| {
        let fs = SimFs::new();
        let file = fs.open(&path("f"), OpenMode::Create).unwrap();
        file.write_at(b"abc", 0).unwrap();
        file.sync_all().unwrap();
        let after = fs.crash(*seed);
        match after.metadata(&path("f")).unwrap() {
            Some(_) => content(&after) == b"abc" || panic!("its content was synced"),
            None => false,
        }
    });
    let survivors = survivors.count();
    assert!(survivors > 50 && survivors < 250, "sometimes, by chance: {survivors}");
}

#[test]
fn a_directory_lost_with_its_parents_names_takes_all_that_was_synced_in_it() {
    let lost = SEEDS.filter(|seed| {
        let fs = SimFs::new();
        fs.create_dir_all(&path("dir")).unwrap();
        fs.open(&path("dir/f"), OpenMode::Create).unwrap().sync_all().unwrap();
        fs.sync_dir(&path("dir")).unwrap();
        fs.crash(*seed).metadata(&path("dir/f")).unwrap().is_none()
    });
    assert!(lost.count() > 50);
    for seed in SEEDS {
        let fs = SimFs::new();
        create_dir_durably(&fs, &path("a/b/c")).unwrap();
        assert_eq!(fs.crash(seed).metadata(&path("a/b/c")).unwrap(), Some(Metadata::Directory), "seed {seed}");
    }
}

#[test]
fn a_rename_or_removal_that_was_not_synced_is_whole_or_undone() {
    let mut states = BTreeSet::new();
    for seed in SEEDS {
        let (fs, _file) = with_file(b"new");
        let other = fs.open(&path("g"), OpenMode::Create).unwrap();
        other.write_at(b"old", 0).unwrap();
        other.sync_all().unwrap();
        fs.sync_dir(&path("")).unwrap();
        fs.rename(&path("f"), &path("g")).unwrap();
        fs.remove(&path("g")).unwrap();
        let after = fs.crash(seed);
        let names = after.list(&path("")).unwrap();
        let contents: Vec<_> = names.iter().map(|name| read_whole(&after, &path(name)).unwrap()).collect();
        states.insert((names, contents));
    }
    let state = |names: &[&str], contents: &[&[u8]]| {
        (names.iter().map(|name| (*name).to_owned()).collect(), contents.iter().map(|bytes| bytes.to_vec()).collect())
    };
    let possible = [state(&["f", "g"], &[b"new", b"old"]), state(&["g"], &[b"new"]), state(&[], &[])];
    assert_eq!(states, BTreeSet::from(possible));
}

#[test]
fn a_file_replaced_durably_is_the_old_one_or_the_new_one_after_a_crash_at_any_operation() {
    for crash_at in 1..20 {
        for seed in 0..40 {
            let disk = SimFs::new();
            replace_durably(&disk, &path("f"), b"old").unwrap();
            let faulty = crate::fs::FaultyFs::new(Arc::new(disk.clone()), Arc::new(crate::env::RealEnv));
            faulty.add(crate::fs::Rule::new(crate::fs::Fault::Io).when(crate::fs::When::From(crash_at)));
            let done = replace_durably(&faulty, &path("f"), b"newer").is_ok();
            let after = content(&disk.crash(seed));
            let right: &[&[u8]] = if done { &[b"newer"] } else { &[b"old", b"newer"] };
            assert!(right.contains(&&*after), "operation {crash_at}, seed {seed}: {after:?}");
        }
    }
}

#[test]
fn nothing_of_an_earlier_life_touches_the_disk_again() {
    let (fs, file) = with_file(b"abc");
    let lock = fs.lock_dir(&path("")).unwrap();
    let next = fs.crash(1);
    let mut buffer = [0; 3];
    assert!(file.write_at(b"x", 0).is_err() && file.sync_data().is_err() && file.read_at(&mut buffer, 0).is_err());
    assert!(fs.remove(&path("f")).is_err() && fs.open(&path("g"), OpenMode::Create).is_err());
    let held = next.lock_dir(&path("")).expect("the crash released the lock");
    drop((lock, file));
    assert_eq!(next.lock_dir(&path("")).unwrap_err().kind(), ErrorKind::WouldBlock, "an old lock does not free a new");
    drop(held);
    assert_eq!(content(&next), b"abc");
}

#[test]
fn a_process_that_merely_dies_loses_nothing_that_it_wrote() {
    for seed in 0..20 {
        let (fs, file) = with_file(b"abc");
        file.write_at(b"def", 3).unwrap();
        fs.open(&path("g"), OpenMode::Create).unwrap();
        let next = fs.restart();
        assert!(file.size().is_err());
        assert_eq!((content(&next), next.list(&path("")).unwrap().len()), (b"abcdef".to_vec(), 2));
        assert_eq!(&content(&next.crash(seed))[..3], b"abc", "but the power may still fail");
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_removing_makes_room() {
    let (fs, file) = with_file(&[1; 60]);
    fs.set_capacity(Some(100));
    assert_eq!(fs.free_space(&path("")).unwrap(), 40);
    assert_eq!(file.write_at(&[2; 50], 60).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 100);
    file.write_at(&[3; 100], 0).expect("overwriting takes no space");
    assert_eq!(file.allocate(101).unwrap_err().kind(), ErrorKind::StorageFull);
    let other = fs.open(&path("g"), OpenMode::Create).unwrap();
    assert_eq!(other.write_at(b"x", 0).unwrap_err().kind(), ErrorKind::StorageFull);
    fs.remove(&path("f")).unwrap();
    other.write_at(&[4; 100], 0).unwrap();
}

#[test]
fn the_same_seed_loses_the_same() {
    let after = |seed| {
        let (fs, file) = with_file(b"abc");
        (0..50).for_each(|i| file.write_at(&[i; 99], 3 + 99 * u64::from(i)).unwrap());
        (0..9).for_each(|i| drop(fs.open(&path(&format!("g{i}")), OpenMode::Create).unwrap()));
        let next = fs.crash(seed);
        (content(&next), next.list(&path("")).unwrap())
    };
    assert_eq!(after(5), after(5));
    assert!((0..9).any(|seed| after(seed) != after(seed + 1)));
}
