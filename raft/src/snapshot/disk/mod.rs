//! Snapshots on disk: the newest one of a group in a file of its own. `docs/storage.md` has the format.
//!
//! Promises: at any moment, and after a crash at any moment, the newest snapshot that was saved is there, whole; no piece of
//! a damaged one is handed out as if it were good; a snapshot is never in memory as a whole.
//! Leaves out: resuming a reception after a restart (it begins again); a lock (the log of the same host has one).

mod content;
mod format;
mod store;
mod workers;

pub use store::DiskSnapshots;
