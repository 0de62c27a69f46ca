//! The files' port: what the log and the snapshots ask of a disk. Nothing else in the library touches files.
//!
//! Promises of an adapter: what a completed sync covered survives a crash; a name survives once its directory was
//! synced; a rename replaces its target at once or not at all; every error says which operation failed on which path.
//! Leaves out: what to do about an error. A failed sync in particular is never to be repeated: what it covered may be
//! lost although the next one succeeds.
//!
//! Calls are synchronous, for they mostly end in the page cache, and a sync is the business of one committer, which
//! is a thread of its own on a real disk and a task in a simulation, where nothing blocks. A disk that is slow in
//! virtual time cannot block either: it says so through [`File::sync_delay`].

mod damaged;
mod faulty;
mod operation;
mod real;
mod sim;
mod whole;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

pub use damaged::Damaged;
pub use faulty::{Fault, FaultyFs, Rule, When};
pub use operation::{FsError, Operation};
pub use real::RealFs;
pub use sim::{CrashStyle, SimFs};
pub use whole::{create_dir_durably, read_exact_at, read_whole, replace_durably};

/// How a file is opened. Every mode but `Read` may write, and all of them may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to be read only.
    Read,
    /// An existing file.
    Write,
    /// The file, made empty if there is none.
    Create,
    /// A new file; an error if there is one.
    CreateNew,
    /// An empty file, whatever was there.
    Truncate,
}

impl OpenMode {
    /// Whether it may make a file.
    pub fn creates(self) -> bool {
        matches!(self, OpenMode::Create | OpenMode::CreateNew | OpenMode::Truncate)
    }
}

/// What stands behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// A file of so many bytes.
    File {
        /// Its size.
        bytes: u64,
    },
    /// A directory.
    Directory,
}

/// A directory's exclusive lock, held while this lives.
pub struct DirLock {
    _guard: Box<dyn Send + Sync>,
}

impl DirLock {
    /// A lock that is released when `guard` is dropped.
    pub fn held_by(guard: impl Send + Sync + 'static) -> Self {
        DirLock { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirLock")
    }
}

/// A file system: the port. Adapters: [`RealFs`], [`FaultyFs`], [`SimFs`].
pub trait Fs: Send + Sync + 'static {
    /// Makes a directory and those above it. Nothing changes if it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Opens a file. A file that this makes survives a crash once its directory is synced.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>>;

    /// Gives a file or directory another name in the same directory, in place of the file that has it. Survives a crash
    /// once the directory is synced; until then a crash leaves the old state or the new one.
    ///
    /// # Errors
    /// `InvalidInput` for a name in another directory: no two directories are synced at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; it may come back by a crash until its directory is synced. Handles to it remain usable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// What stands behind a name; `None` when nothing does.
    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>>;

    /// Makes the names in a directory, as they are now, survive a crash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Locks a directory against every other holder, in this process or another.
    ///
    /// # Errors
    /// `WouldBlock` when it is held.
    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock>;

    /// How many bytes may yet be written to the disk that holds `dir`.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file. Offsets are the caller's: there is no position.
pub trait File: Send + Sync {
    /// Reads at `offset`, as far as is convenient; zero only at the end of the file or for an empty buffer.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; a gap between the end of the file and `offset` reads as zeros.
    ///
    /// # Errors
    /// When not all was written; any part may have been.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The file's size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file, or extends it with zeros that may take no space yet.
    fn set_size(&self, bytes: u64) -> io::Result<()>;

    /// Makes the file at least so large, with zeros that take their space now, so that writing over them does not
    /// fail for want of it.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes all that was written, and what it takes to read it back, survive a crash.
    fn sync_data(&self) -> io::Result<()>;

    /// As [`Self::sync_data`], with the file's times and rights.
    fn sync_all(&self) -> io::Result<()>;

    /// How long to wait, in the environment's time, before the next sync: how a simulated disk is slow. Who syncs asks
    /// before each sync.
    fn sync_delay(&self) -> Duration {
        Duration::ZERO
    }
}
