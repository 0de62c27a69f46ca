//! Digests of a machine's state, by which replicas find out whether they hold the same.

use std::hash::Hasher;

use twox_hash::XxHash3_64;

use crate::snapshot::SnapshotView;

/// A digest that is still to be computed, of the state at one moment: on a thread that may block, while applies go on. `None`
/// when it cannot be.
pub type StateDigest = Box<dyn FnOnce() -> Option<u64> + Send + Sync>;

/// The digest of what a snapshot holds: for machines of which equal states give equal snapshots, byte for byte.
pub fn snapshot_digest(view: Box<dyn SnapshotView>) -> StateDigest {
    Box::new(move || {
        let mut hasher = XxHash3_64::new();
        let mut reader = view.open();
        while let Some(piece) = reader.next().ok()? {
            hasher.write(&piece);
        }
        Some(hasher.finish())
    })
}
