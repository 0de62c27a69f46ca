//! Why a log on disk does not open.

use std::io;
use std::path::PathBuf;

use crate::fs::Damaged;

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another log of this one, has the directory.
    #[error("{} is in use", .0.display())]
    InUse(PathBuf),
    /// A file was written by a version of the library that this one does not know.
    #[error("{}: format version {found} is not known here", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// What had been synced cannot be read as it was written.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}
