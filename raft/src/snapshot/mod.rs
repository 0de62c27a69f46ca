//! Snapshots: a point-in-time view of a machine, the records it is made of, and where the newest one is kept.
//!
//! Promises: a view is read while applies go on and does not see them; a store holds at least one whole snapshot at any
//! moment once it held one.
//! Leaves out: who decides to take one (the engine, by bytes of log), and how one travels (the transport's chunks).

pub mod disk;
mod memory;
mod records;
mod restore;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{LogId, Membership};

pub use disk::DiskSnapshots;
pub use memory::MemorySnapshots;
pub use records::{RecordReader, Records, read_records};
pub use restore::{edited, restore};

/// A machine's state at one index. May be opened several times, by several readers at once.
pub trait SnapshotView: Send + Sync {
    /// Starts reading from the beginning.
    fn open(&self) -> Box<dyn SnapshotReader>;
}

/// One pass over a snapshot.
pub trait SnapshotReader: Send {
    /// The next piece, of bounded size; `None` at the end. Pieces are to be concatenated: their borders mean nothing.
    ///
    /// # Errors
    /// When the snapshot cannot be read any further; what was read so far must not be used.
    fn next(&mut self) -> io::Result<Option<Bytes>>;
}

/// What a snapshot stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMeta {
    /// The last entry whose effect it holds; `None` for the state before any entry.
    pub last: Option<LogId>,
    /// The membership in force there.
    pub membership: Membership,
    /// The entry that put that membership in force.
    pub membership_at: Option<LogId>,
}

/// A snapshot that a store holds.
#[derive(Clone)]
pub struct Snapshot {
    /// What it stands for.
    pub meta: SnapshotMeta,
    /// Its content: the log's time and the group's sessions first, then the machine's state.
    pub view: Arc<dyn SnapshotView>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("meta", &self.meta).finish_non_exhaustive()
    }
}

/// Where a group's newest snapshot is kept: the port. Each adapter passes `tests/conformance`.
#[async_trait::async_trait]
pub trait SnapshotStore: Send + Sync + 'static {
    /// Keeps `view` as the newest snapshot. When it returns, the snapshot survives a crash; the one before may be gone.
    ///
    /// # Errors
    /// When it could not be kept; the one before is still there.
    async fn save(&self, meta: SnapshotMeta, view: Arc<dyn SnapshotView>) -> io::Result<Snapshot>;

    /// The newest snapshot, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    async fn latest(&self) -> io::Result<Option<Snapshot>>;

    /// Starts to receive a snapshot piece by piece; nothing counts before [`SnapshotSink::finish`].
    async fn receive(&self) -> io::Result<Box<dyn SnapshotSink>>;
}

/// A snapshot being received from another node.
#[async_trait::async_trait]
pub trait SnapshotSink: Send {
    /// Appends one piece.
    async fn write(&mut self, piece: Bytes) -> io::Result<()>;
    /// Ends the reception and gives the whole, readable, not yet kept: the receiver restores from it, then saves it.
    async fn finish(self: Box<Self>) -> io::Result<Arc<dyn SnapshotView>>;
}
