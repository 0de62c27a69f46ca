//! The snapshots' port.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate::env::RealEnv;
use quorate::fs::SimFs;
use quorate::snapshot::{
    DiskSnapshots, MemorySnapshots, Records, Snapshot, SnapshotMeta, SnapshotReader, SnapshotSink, SnapshotStore,
    SnapshotView, read_records,
};
use quorate::types::{GroupId, Index, LogId, Membership, NodeId, Term};

/// An adapter under test: opens the one store again and again, as the lives of a replica do.
trait Adapter {
    fn open(&self) -> Arc<dyn SnapshotStore>;
}

impl Adapter for MemorySnapshots {
    fn open(&self) -> Arc<dyn SnapshotStore> {
        Arc::new(self.clone())
    }
}

/// Snapshots on disk, opened anew each time; handles of an earlier life go on with the present one.
#[derive(Clone)]
struct OnDisk(SimFs, Arc<Mutex<Arc<DiskSnapshots>>>);

impl OnDisk {
    fn new() -> Self {
        let disk = SimFs::new();
        let store = Self::life(&disk);
        OnDisk(disk, Arc::new(Mutex::new(store)))
    }

    fn life(disk: &SimFs) -> Arc<DiskSnapshots> {
        let fs = Arc::new(disk.clone());
        Arc::new(DiskSnapshots::open(fs, Arc::new(RealEnv), Path::new("/snapshots"), GroupId(3)).unwrap())
    }

    fn now(&self) -> Arc<DiskSnapshots> {
        Arc::clone(&self.1.lock().unwrap())
    }
}

impl Adapter for OnDisk {
    fn open(&self) -> Arc<dyn SnapshotStore> {
        *self.1.lock().unwrap() = Self::life(&self.0);
        Arc::new(self.clone())
    }
}

#[async_trait::async_trait]
impl SnapshotStore for OnDisk {
    async fn save(&self, meta: SnapshotMeta, view: Arc<dyn SnapshotView>) -> io::Result<Snapshot> {
        self.now().save(meta, view).await
    }

    async fn latest(&self) -> io::Result<Option<Snapshot>> {
        self.now().latest().await
    }

    async fn receive(&self) -> io::Result<Box<dyn SnapshotSink>> {
        self.now().receive().await
    }
}

fn meta(term: u64, index: u64) -> SnapshotMeta {
    let id = LogId { term: Term(term), index: Index(index) };
    SnapshotMeta {
        last: Some(id),
        membership: Membership { voters: vec![[NodeId(1), NodeId(index)].into()], learners: [NodeId(9)].into() },
        membership_at: Some(LogId { index: Index(0), ..id }),
    }
}

/// The numbers below `count`, as records: some pieces' worth when there are many.
fn numbers(count: u64) -> Arc<dyn SnapshotView> {
    Arc::from(Records::view(move || 0..count))
}

fn bytes_of(view: &dyn SnapshotView) -> io::Result<Vec<u8>> {
    let (mut reader, mut all) = (view.open(), Vec::new());
    while let Some(piece) = reader.next()? {
        all.extend_from_slice(&piece);
    }
    Ok(all)
}

fn count_of(snapshot: &Snapshot) -> u64 {
    let mut reader = snapshot.view.open();
    let numbers: Vec<u64> = read_records(&mut *reader).collect::<io::Result<_>>().unwrap();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "what was written");
    numbers.len() as u64
}

async fn latest(adapter: &dyn Adapter) -> Option<(SnapshotMeta, u64)> {
    let latest = adapter.open().latest().await.unwrap();
    latest.map(|snapshot| (snapshot.meta.clone(), count_of(&snapshot)))
}

/// A view that breaks half-way.
struct Broken;

impl SnapshotView for Broken {
    fn open(&self) -> Box<dyn SnapshotReader> {
        struct Reader(u8);
        impl SnapshotReader for Reader {
            fn next(&mut self) -> io::Result<Option<Bytes>> {
                self.0 += 1;
                if self.0 < 3 { Ok(Some(Bytes::from_static(b"piece"))) } else { Err(io::Error::other("broken")) }
            }
        }
        Box::new(Reader(0))
    }
}

async fn an_empty_store_has_no_snapshot(adapter: &dyn Adapter) {
    assert_eq!(latest(adapter).await, None);
}

async fn a_saved_snapshot_is_the_latest_in_this_life_and_the_next(adapter: &dyn Adapter) {
    for (index, count) in [(3, 0), (5, 1), (70, 200_000)] {
        let saved = adapter.open().save(meta(1, index), numbers(count)).await.unwrap();
        assert_eq!((&saved.meta, count_of(&saved)), (&meta(1, index), count));
        assert_eq!(latest(adapter).await, Some((meta(1, index), count)));
    }
}

async fn a_snapshot_of_the_state_before_any_entry_can_be_kept(adapter: &dyn Adapter) {
    adapter.open().save(SnapshotMeta::default(), numbers(2)).await.unwrap();
    assert_eq!(latest(adapter).await, Some((SnapshotMeta::default(), 2)));
}

async fn an_older_snapshot_never_replaces_a_newer_one(adapter: &dyn Adapter) {
    let store = adapter.open();
    store.save(meta(2, 9), numbers(9)).await.unwrap();
    for (older, count) in [(meta(2, 8), 8), (meta(1, 8), 7), (SnapshotMeta::default(), 0)] {
        store.save(older, numbers(count)).await.unwrap();
        assert_eq!(latest(adapter).await, Some((meta(2, 9), 9)));
    }
}

async fn a_view_opens_many_times_and_outlives_the_snapshot_that_replaces_it(adapter: &dyn Adapter) {
    let store = adapter.open();
    store.save(meta(1, 1), numbers(50_000)).await.unwrap();
    let old = store.latest().await.unwrap().unwrap();
    let (mut one, mut other) = (old.view.open(), old.view.open());
    let first = one.next().unwrap();
    store.save(meta(1, 2), numbers(3)).await.unwrap();
    assert_eq!(other.next().unwrap(), first, "each pass starts at the beginning");
    let mut rest = first.unwrap().len();
    while let Some(piece) = one.next().unwrap() {
        rest += piece.len();
    }
    assert_eq!(rest, bytes_of(&*numbers(50_000)).unwrap().len());
    assert_eq!(count_of(&old), 50_000);
}

async fn a_received_snapshot_reads_back_whatever_its_pieces_and_counts_only_when_saved(adapter: &dyn Adapter) {
    let whole = bytes_of(&*numbers(5_000)).unwrap();
    for size in [1, 7, 4096, usize::MAX] {
        let store = adapter.open();
        let before = latest(adapter).await;
        let mut sink = store.receive().await.unwrap();
        let abandoned = store.receive().await.unwrap();
        for piece in whole.chunks(size) {
            sink.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        drop(abandoned);
        sink.write(Bytes::new()).await.unwrap();
        let view = sink.finish().await.unwrap();
        assert_eq!(bytes_of(&*view).unwrap(), whole);
        assert_eq!(latest(adapter).await, before, "received is not yet kept");
        store.save(meta(3, size as u64), view).await.unwrap();
        assert_eq!(latest(adapter).await, Some((meta(3, size as u64), 5_000)));
    }
}

async fn an_empty_reception_is_an_empty_snapshot(adapter: &dyn Adapter) {
    let store = adapter.open();
    let view = store.receive().await.unwrap().finish().await.unwrap();
    assert_eq!(bytes_of(&*view).unwrap(), b"");
    store.save(meta(1, 1), view).await.unwrap();
    assert_eq!(latest(adapter).await, Some((meta(1, 1), 0)));
}

async fn a_view_that_cannot_be_read_to_its_end_never_stands_in_for_the_snapshot_before(adapter: &dyn Adapter) {
    let store = adapter.open();
    store.save(meta(1, 1), numbers(10)).await.unwrap();
    // A store in memory keeps the view itself and cannot know; its reader finds out, before it has changed anything.
    if store.save(meta(1, 2), Arc::new(Broken)).await.is_err() {
        assert_eq!(latest(adapter).await, Some((meta(1, 1), 10)));
    } else {
        let kept = store.latest().await.unwrap().unwrap();
        assert!(bytes_of(&*kept.view).is_err());
    }
}

macro_rules! every_adapter {
    ($($claim:ident),* $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $claim() {
                super::$claim(&super::MemorySnapshots::new()).await;
            }
        )* }
        mod disk { $(
            #[tokio::test]
            async fn $claim() {
                super::$claim(&super::OnDisk::new()).await;
            }
        )* }
    };
}

every_adapter!(
    an_empty_store_has_no_snapshot,
    a_saved_snapshot_is_the_latest_in_this_life_and_the_next,
    a_snapshot_of_the_state_before_any_entry_can_be_kept,
    an_older_snapshot_never_replaces_a_newer_one,
    a_view_opens_many_times_and_outlives_the_snapshot_that_replaces_it,
    a_received_snapshot_reads_back_whatever_its_pieces_and_counts_only_when_saved,
    an_empty_reception_is_an_empty_snapshot,
    a_view_that_cannot_be_read_to_its_end_never_stands_in_for_the_snapshot_before,
);
