//! The newest snapshot in memory: a view that shares its structure with the live state, so keeping it costs nothing.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;

use super::{Snapshot, SnapshotMeta, SnapshotReader, SnapshotSink, SnapshotStore, SnapshotView};

/// A [`SnapshotStore`] in memory. Clones share the store: what one life of a replica saved, the next one finds.
#[derive(Clone, Debug, Default)]
pub struct MemorySnapshots(Arc<Mutex<Option<Snapshot>>>);

impl MemorySnapshots {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait::async_trait]
impl SnapshotStore for MemorySnapshots {
    async fn save(&self, meta: SnapshotMeta, view: Arc<dyn SnapshotView>) -> io::Result<Snapshot> {
        let snapshot = Snapshot { meta, view };
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|held| held.meta.last <= snapshot.meta.last) {
            let replaced = slot.replace(snapshot.clone());
            drop(slot);
            dispose(replaced);
        }
        Ok(snapshot)
    }

    async fn latest(&self) -> io::Result<Option<Snapshot>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn receive(&self) -> io::Result<Box<dyn SnapshotSink>> {
        Ok(Box::<Received>::default())
    }
}

/// Frees a snapshot on a thread kept for that: it may be the last owner of a state that the machine has since given up,
/// and freeing 100 MB of small values takes tens of milliseconds, in which no group on this thread would get anywhere.
/// One thread for all, so that the replicas of one process do not free theirs on every core at once.
fn dispose(replaced: Option<Snapshot>) {
    static DISPOSER: LazyLock<Sender<Snapshot>> = LazyLock::new(|| {
        let (sender, replaced) = channel::<Snapshot>();
        // Where no thread is to be had the receiver is dropped here, and each snapshot is freed by the failing `send`.
        let _ = std::thread::Builder::new().name("free-snapshots".into()).spawn(move || replaced.iter().for_each(drop));
        sender
    });
    if let Some(snapshot) = replaced {
        let _ = DISPOSER.send(snapshot);
    }
}

/// Pieces received so far.
#[derive(Default)]
struct Received(Vec<Bytes>);

#[async_trait::async_trait]
impl SnapshotSink for Received {
    async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        self.0.push(piece);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> io::Result<Arc<dyn SnapshotView>> {
        Ok(Arc::new(Pieces(self.0.into())))
    }
}

/// A received snapshot as it came.
struct Pieces(Arc<[Bytes]>);

impl SnapshotView for Pieces {
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(PiecesReader { pieces: Arc::clone(&self.0), at: 0 })
    }
}

struct PiecesReader {
    pieces: Arc<[Bytes]>,
    at: usize,
}

impl SnapshotReader for PiecesReader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = self.pieces.get(self.at).cloned();
        self.at += 1;
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, LogId, Term};

    fn meta(index: u64) -> SnapshotMeta {
        SnapshotMeta { last: Some(LogId { term: Term(1), index: Index(index) }), ..Default::default() }
    }

    #[tokio::test]
    async fn what_was_received_piece_by_piece_reads_back_whole_and_an_older_snapshot_never_replaces_a_newer_one() {
        let store = MemorySnapshots::new();
        let mut sink = store.receive().await.unwrap();
        sink.write(Bytes::from_static(b"ab")).await.unwrap();
        sink.write(Bytes::from_static(b"c")).await.unwrap();
        let view = sink.finish().await.unwrap();
        assert!(store.latest().await.unwrap().is_none(), "received is not yet kept");
        store.save(meta(7), Arc::clone(&view)).await.unwrap();
        store.save(meta(3), view).await.unwrap();
        let kept = store.latest().await.unwrap().unwrap();
        assert_eq!(kept.meta, meta(7));
        let mut reader = kept.view.open();
        let mut all = Vec::new();
        while let Some(piece) = reader.next().unwrap() {
            all.extend_from_slice(&piece);
        }
        assert_eq!(all, b"abc");
    }
}
