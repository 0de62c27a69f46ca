//! Files that were written by earlier versions of the library are read by this one; those of later ones are not touched.
//!
//! The fixtures were written by `cargo test -p quorate --test disk -- --ignored write_fixtures`, once for each version of
//! the format. They are never written again: a format that changes gets a new version, and new fixtures beside the old.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate::GroupId;
use quorate::fs::{Fs, OpenMode, SimFs, read_whole};
use quorate::log::disk::OpenError;
use quorate::snapshot::{DiskSnapshots, Records, SnapshotMeta, SnapshotStore, read_records};
use quorate::types::{Membership, NodeId};

use crate::damage::Files;
use crate::driver::{DIR, Driver, env, open, run, settle, small};
use crate::model::{Model, id};

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A history with every kind of record in it.
async fn history(driver: &mut Driver) {
    driver.append(GroupId(7), 1, 0, &[0, 30, 60]).await.unwrap();
    for round in 0..40 {
        driver.append(GroupId(1), 1 + round / 10, round, &[120]).await.unwrap();
        driver.purge(GroupId(1), id(1 + round / 10, round.saturating_sub(2))).await.unwrap();
        settle().await;
    }
    driver.append(GroupId(u64::MAX), 5, 0, &[1, 2, 3, 4]).await.unwrap();
    driver.truncate(GroupId(u64::MAX), Some(id(5, 1))).await.unwrap();
    driver.append(GroupId(u64::MAX), 6, 1, &[9]).await.unwrap();
    driver.group(GroupId(7)).save_committed(Some(id(1, 1))).await.unwrap();
    driver.vote(GroupId(7), 4).await.unwrap();
    driver.append(GroupId(3), 1, 0, &[5]).await.unwrap();
    driver.vote(GroupId(3), 1).await.unwrap();
    driver.forget(GroupId(3)).await.unwrap();
    assert!(driver.log.usage().rewritten_bytes > 0, "entries were moved");
    driver.log.close().await;
}

fn snapshot_meta() -> SnapshotMeta {
    let membership = Membership { voters: vec![[NodeId(1), NodeId(2)].into()], learners: [NodeId(3)].into() };
    SnapshotMeta { last: Some(id(3, 17)), membership, membership_at: Some(id(1, 0)) }
}

/// The files of a fixture on a disk of their own, in `dir`.
fn disk_with(fixture: &Path, dir: &Path) -> SimFs {
    let disk = SimFs::new();
    disk.create_dir_all(dir).unwrap();
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap();
        let bytes = fs::read(file.path()).unwrap();
        disk.open(&dir.join(file.file_name()), OpenMode::CreateNew).unwrap().write_at(&bytes, 0).unwrap();
    }
    disk
}

#[test]
#[ignore = "writes the fixtures of a new version of the format"]
fn write_fixtures() {
    run(|| async {
        let disk = SimFs::new();
        let mut driver = Driver::begin(open(disk.clone(), small()).unwrap()).await;
        history(&mut driver).await;
        let to = fixtures("log-v1");
        fs::create_dir_all(&to).unwrap();
        for (path, bytes) in Files::of(&disk).0.iter().filter(|(path, _)| path.extension().is_some()) {
            fs::write(to.join(path.file_name().unwrap()), bytes).unwrap();
        }
        let (dir, to) = (Path::new("/snapshots"), fixtures("snapshot-v1"));
        let store = DiskSnapshots::open(Arc::new(disk.clone()), env(), dir, GroupId(4)).unwrap();
        store.save(snapshot_meta(), Arc::from(Records::view(|| 0..500u64))).await.unwrap();
        fs::create_dir_all(&to).unwrap();
        let dir = dir.join("4");
        for name in disk.list(&dir).unwrap() {
            fs::write(to.join(&name), read_whole(&disk, &dir.join(&name)).unwrap()).unwrap();
        }
    });
}

#[test]
fn a_log_of_format_version_one_opens_with_all_that_is_in_it() {
    run(|| async {
        let mut driver = Driver::begin(open(SimFs::new(), small()).unwrap()).await;
        history(&mut driver).await;
        let disk = disk_with(&fixtures("log-v1"), Path::new(DIR));
        assert!(Files::of(&disk).0.len() > 1, "several segments");
        let log = open(disk, small()).unwrap();
        assert_eq!(Model::read(&log).await.unwrap(), driver.now);
        assert_eq!(log.group(GroupId(7)).committed().await.unwrap(), Some(id(1, 1)));
    });
}

#[test]
fn a_snapshot_of_format_version_one_opens_with_all_that_is_in_it() {
    run(|| async {
        let dir = Path::new("/snapshots");
        let disk = disk_with(&fixtures("snapshot-v1"), &dir.join("4"));
        let store = DiskSnapshots::open(Arc::new(disk), env(), dir, GroupId(4)).unwrap();
        let kept = store.latest().await.unwrap().unwrap();
        assert_eq!(kept.meta, snapshot_meta());
        let mut reader = kept.view.open();
        let numbers: Vec<u64> = read_records(&mut *reader).collect::<Result<_, _>>().unwrap();
        assert!(numbers.into_iter().eq(0..500));
    });
}

#[test]
fn a_log_of_a_later_format_version_is_refused_by_name_and_left_alone() {
    run(|| async {
        let mut files = Files::of(&disk_with(&fixtures("log-v1"), Path::new(DIR)));
        // 40 differs from 1 in more than a bit; what else is in a later version's header cannot be known.
        files.0[0].1[8] = 40;
        files.0[0].1[30] ^= 0xff;
        let disk = files.disk();
        let error = open(disk.clone(), small()).map(drop).unwrap_err();
        assert!(matches!(&error, OpenError::Version { path, found: 40 } if *path == files.0[0].0), "{error}");
        assert_eq!(Files::of(&disk).0, files.0);
    });
}
