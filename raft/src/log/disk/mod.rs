//! The log on disk: one for all groups of a host, in segments. `docs/storage.md` has the format and the reasons.
//!
//! Promises: an append, and everything before it, is on disk when its flush is reported; a vote when `save_vote` returns;
//! all groups share one write and one sync for what they have queued meanwhile; damage to what had been synced is an error
//! that names file and offset, while a torn end is cut off; when a write or a sync fails, nothing is accepted any more;
//! when the disk is full, entries are refused before that, and votes, truncations and purges go on.
//! Leaves out: encryption; what to do when the disk has failed.
//!
//! From the caller to the disk: `store` frames records and queues them in `state`, where entries can be read from then on;
//! the `committer` writes them; `recovery` reads them back, with `tail` judging the end; `rewrite` keeps the log small.

mod committer;
mod error;
mod group;
mod log;
pub mod metrics;
mod options;
mod outline;
mod queue;
mod record;
mod recovery;
mod rewrite;
mod room;
mod segment;
mod shared;
mod spare;
mod state;
mod store;
mod tail;

pub use error::OpenError;
pub use log::DiskLog;
pub use options::{DiskLogOptions, SEGMENT_BYTES_MAX};
pub use state::Usage;
