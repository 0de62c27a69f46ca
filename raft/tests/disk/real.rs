//! The log on real files, its committer on a thread of its own.

use std::io;
use std::path::Path;
use std::sync::Arc;

use quorate::GroupId;
use quorate::env::RealEnv;
use quorate::fs::{Fault, FaultyFs, Fs, Operation, RealFs, Rule};
use quorate::log::disk::OpenError;
use quorate::log::{DiskLog, DiskLogOptions, Flushed, LogStore};
use quorate::snapshot::{DiskSnapshots, Records, SnapshotMeta, SnapshotStore};
use quorate::types::Index;
use tokio::sync::oneshot;

use crate::model::{entry, id, vote};

fn open(fs: impl Fs, dir: &Path) -> Result<Arc<DiskLog>, OpenError> {
    let options = DiskLogOptions {
        segment_bytes: 64 << 10,
        queue_bytes: 8 << 10,
        cache_bytes: 8 << 10,
        reserve_bytes: 4 << 10,
        garbage_segments: 1,
        ..DiskLogOptions::default()
    };
    DiskLog::open(Arc::new(fs), Arc::new(RealEnv), dir, options)
}

async fn append(group: &dyn LogStore, index: u64, bytes: usize) -> io::Result<()> {
    let (sender, flushed) = oneshot::channel();
    let done = Flushed::new(move |result| sender.send(result).unwrap());
    group.append(vec![entry(1, index, bytes)], done).await?;
    flushed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_on_several_threads_share_a_log_and_find_everything_again() {
    const ENTRIES: u64 = 150;
    let dir = tempfile::tempdir().unwrap();
    let log = open(RealFs, dir.path()).unwrap();
    assert!(matches!(open(RealFs, dir.path()), Err(OpenError::InUse(_))));
    let writers = (0..8).map(|number| {
        let group = log.group(GroupId(number));
        tokio::spawn(async move {
            for index in 0..ENTRIES {
                append(&*group, index, 200).await.unwrap();
                if index % 10 == 9 && number > 0 {
                    group.purge(id(1, index - 5)).await.unwrap();
                    group.save_vote(vote(index)).await.unwrap();
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let usage = log.usage();
    assert!(usage.syncs < 8 * ENTRIES, "appends share syncs: {usage:?}");
    assert!(usage.bytes <= 2 * usage.live_bytes + 3 * (64 << 10), "{usage:?}");
    log.close().await;
    let log = open(RealFs, dir.path()).unwrap();
    for number in 0..8 {
        let group = log.group(GroupId(number));
        let first = if number == 0 { 0 } else { ENTRIES - 5 };
        let expected: Vec<_> = (first..ENTRIES).map(|index| entry(1, index, 200)).collect();
        assert_eq!(group.read(Index(0), Index(u64::MAX)).await.unwrap(), expected);
        assert_eq!(group.vote().await.unwrap(), (number > 0).then(|| vote(ENTRIES - 1)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_reaches_everybody_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let faulty = FaultyFs::new(Arc::new(RealFs), Arc::new(RealEnv));
    let log = open(faulty.clone(), dir.path()).unwrap();
    append(&*log.group(GroupId(1)), 0, 10).await.unwrap();
    faulty.add(Rule::new(Fault::Io).on([Operation::Sync]));
    let writers = (1..20).map(|number| {
        let group = log.group(GroupId(number + 10));
        tokio::spawn(async move { append(&*group, 0, 10).await })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert!(writer.await.unwrap().is_err());
    }
    log.close().await;
    faulty.clear();
    let log = open(faulty, dir.path()).unwrap();
    assert_eq!(log.group(GroupId(1)).read(Index(0), Index(9)).await.unwrap(), [entry(1, 0, 10)]);
}

#[tokio::test]
async fn saving_a_snapshot_leaves_the_thread_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let env = Arc::new(RealEnv);
    let store = DiskSnapshots::open(Arc::new(RealFs), env, dir.path(), GroupId(1)).unwrap();
    // The view is read only once somebody else on this one thread has run.
    let (go, gone) = std::sync::mpsc::channel();
    let gone = std::sync::Mutex::new(gone);
    let view = Records::view(move || {
        gone.lock().unwrap().recv().unwrap();
        0..10u64
    });
    let meta = SnapshotMeta { last: Some(id(1, 1)), ..SnapshotMeta::default() };
    let other = async { go.send(()).unwrap() };
    let (saved, ()) = tokio::join!(store.save(meta.clone(), Arc::from(view)), other);
    assert_eq!(saved.unwrap().meta, meta);
    assert_eq!(store.latest().await.unwrap().unwrap().meta, meta);
}
