//! Why a log on disk does not open, or what is wrong in one of its files.

use std::io;
use std::path::{Path, PathBuf};

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

/// Something that had been synced cannot be read as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {what}", path.display())]
pub struct Damaged {
    /// The file.
    pub path: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damaged {
    pub(super) fn new(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}

impl From<Damaged> for io::Error {
    fn from(damaged: Damaged) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damaged)
    }
}
