//! Snapshots on disk: whole or not there, whatever fails.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate::GroupId;
use quorate::fs::{CrashStyle, Fault, FaultyFs, Fs, OpenMode, Rule, SimFs, When, read_whole};
use quorate::snapshot::{DiskSnapshots, Records, Snapshot, SnapshotMeta, SnapshotStore, SnapshotView, read_records};

use crate::driver::{env, run};
use crate::model::id;

const DIR: &str = "/data/snapshots";

fn open(fs: impl Fs) -> io::Result<DiskSnapshots> {
    DiskSnapshots::open(Arc::new(fs), env(), Path::new(DIR), GroupId(4))
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta { last: Some(id(1, index)), ..SnapshotMeta::default() }
}

fn numbers(count: u64) -> Arc<dyn SnapshotView> {
    Arc::from(Records::view(move || 0..count))
}

fn pieces_of(view: &dyn SnapshotView) -> io::Result<Vec<Bytes>> {
    let mut reader = view.open();
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

/// How many numbers a snapshot holds.
fn count_of(snapshot: &Snapshot) -> io::Result<u64> {
    let mut reader = snapshot.view.open();
    let numbers: Vec<u64> = read_records(&mut *reader).collect::<io::Result<_>>()?;
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
    Ok(numbers.len() as u64)
}

/// The index and the size of the newest snapshot.
async fn newest(disk: &SimFs) -> io::Result<Option<(u64, u64)>> {
    let newest = open(disk.clone())?.latest().await?;
    newest.map(|newest| Ok((newest.meta.last.unwrap().index.0, count_of(&newest)?))).transpose()
}

/// Saves the state at 10, receives the one at 20 from elsewhere, saves the one at 30. Gives what was reported as saved.
async fn save_some(fs: impl Fs) -> Option<u64> {
    let mut saved = None;
    let Ok(store) = open(fs) else { return saved };
    let large = 70_000;
    let steps = async {
        store.save(meta(10), numbers(10)).await?;
        saved = Some(10);
        let mut sink = store.receive().await?;
        for piece in pieces_of(&*numbers(large))? {
            sink.write(piece).await?;
        }
        let received = sink.finish().await?;
        assert_eq!(count_of(&Snapshot { meta: meta(20), view: Arc::clone(&received) })?, large);
        store.save(meta(20), received).await?;
        saved = Some(20);
        store.save(meta(30), numbers(30)).await?;
        saved = Some(30);
        io::Result::Ok(())
    };
    // Where it stops is what `saved` says.
    drop(steps.await);
    saved
}

fn size_at(index: u64) -> u64 {
    if index == 20 { 70_000 } else { index }
}

/// What is found is whole, and at least as new as what was reported.
async fn check(disk: &SimFs, saved: Option<u64>, what: &str) {
    let found = newest(disk).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(found.map(|(index, _)| index) >= saved, "{what}: {found:?} after {saved:?}");
    assert!(found.is_none_or(|(index, size)| size == size_at(index)), "{what}: {found:?}");
    // Nothing is left of what was cut off, and the next one can be saved.
    let names = disk.list(&Path::new(DIR).join("4")).unwrap();
    assert_eq!(names.len(), usize::from(found.is_some()), "{what}: {names:?}");
    open(disk.clone()).unwrap().save(meta(40), numbers(40)).await.unwrap();
    assert_eq!(newest(disk).await.unwrap(), Some((40, 40)), "{what}");
}

#[test]
fn power_loss_at_any_operation_leaves_the_newest_saved_snapshot_or_a_newer_one() {
    run(|| async {
        for style in [CrashStyle::Prefix, CrashStyle::Scattered] {
            for n in 1.. {
                let disk = SimFs::new();
                let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
                faulty.add(Rule::new(Fault::Io).when(When::From(n)));
                let saved = save_some(faulty).await;
                check(&disk.crash_as(n, style), saved, &format!("{style:?} at operation {n}")).await;
                if saved == Some(30) {
                    break;
                }
            }
        }
    });
}

#[test]
fn any_operation_may_fail_without_harm_to_the_snapshot_before() {
    run(|| async {
        for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
            for n in 1.. {
                let disk = SimFs::new();
                let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
                faulty.add(Rule::new(fault).when(When::Nth(n)));
                let saved = save_some(faulty.clone()).await;
                check(&disk, saved, &format!("{fault:?} at operation {n}")).await;
                if faulty.operations() < n {
                    break;
                }
            }
        }
    });
}

#[test]
fn every_flipped_byte_of_a_snapshot_is_an_error() {
    run(|| async {
        let disk = SimFs::new();
        open(disk.clone()).unwrap().save(meta(10), numbers(300)).await.unwrap();
        let dir = Path::new(DIR).join("4");
        let path = dir.join(&disk.list(&dir).unwrap()[0]);
        let bytes = read_whole(&disk, &path).unwrap();
        for offset in 0..bytes.len() {
            let file = disk.open(&path, OpenMode::Write).unwrap();
            file.write_at(&[bytes[offset] ^ 1 << (offset % 8)], offset as u64).unwrap();
            let error = newest(&disk).await.map(drop).expect_err("a flipped byte went unnoticed");
            assert!(error.to_string().contains(".snapshot is damaged"), "byte {offset}: {error}");
            file.write_at(&bytes[offset..=offset], offset as u64).unwrap();
        }
        for cut in 0..bytes.len() as u64 {
            let file = disk.open(&path, OpenMode::Truncate).unwrap();
            file.write_at(&bytes[..cut as usize], 0).unwrap();
            assert!(newest(&disk).await.is_err(), "cut at {cut}");
        }
    });
}

#[test]
fn a_received_snapshot_is_kept_where_it_was_received() {
    run(|| async {
        let disk = SimFs::new();
        let faulty = FaultyFs::new(Arc::new(disk.clone()), env());
        let store = open(faulty.clone()).unwrap();
        let mut sink = store.receive().await.unwrap();
        for piece in pieces_of(&*numbers(1_000_000)).unwrap() {
            sink.write(piece).await.unwrap();
        }
        let view = sink.finish().await.unwrap();
        let before = faulty.operations();
        store.save(meta(20), Arc::clone(&view)).await.unwrap();
        assert!(faulty.operations() - before < 8, "it was copied");
        // Saved once more, as another, it must be: the first one is not to be touched.
        store.save(meta(21), view).await.unwrap();
        assert_eq!(newest(&disk).await.unwrap(), Some((21, 1_000_000)));
    });
}

#[test]
fn a_reception_that_is_given_up_leaves_no_file() {
    run(|| async {
        let disk = SimFs::new();
        let store = open(disk.clone()).unwrap();
        let names = || disk.list(&Path::new(DIR).join("4")).unwrap();
        let mut sink = store.receive().await.unwrap();
        sink.write(Bytes::from_static(b"half of it")).await.unwrap();
        assert_eq!(names().len(), 1);
        drop(sink);
        assert!(names().is_empty());
        let view = store.receive().await.unwrap().finish().await.unwrap();
        assert_eq!(names().len(), 1);
        drop(view);
        assert!(names().is_empty());
    });
}

#[test]
fn a_forgotten_groups_snapshots_are_gone_for_good() {
    run(|| async {
        let disk = SimFs::new();
        open(disk.clone()).unwrap().save(meta(10), numbers(10)).await.unwrap();
        for _ in 0..2 {
            DiskSnapshots::forget(&disk, Path::new(DIR), GroupId(4)).unwrap();
        }
        let disk = disk.crash(1);
        assert!(disk.list(Path::new(DIR)).unwrap().is_empty());
        assert_eq!(newest(&disk).await.unwrap(), None);
    });
}
