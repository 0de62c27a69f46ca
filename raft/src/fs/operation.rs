//! The operations of the port by name: for errors, and for rules about which of them fail.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What was asked of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Making a directory.
    CreateDir,
    /// Opening a file in a mode that may make it.
    Create,
    /// Opening a file that is there.
    Open,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Changing a file's size, or allocating its space.
    Resize,
    /// Syncing a file.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Renaming.
    Rename,
    /// Removing a file or a directory.
    Remove,
    /// Listing a directory.
    List,
    /// Asking what stands behind a name, or for a file's size.
    Metadata,
    /// Locking a directory.
    Lock,
    /// Asking for the free space.
    FreeSpace,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::CreateDir => "create directory",
            Operation::Create => "create",
            Operation::Open => "open",
            Operation::Read => "read",
            Operation::Write => "write",
            Operation::Resize => "resize",
            Operation::Sync => "sync",
            Operation::SyncDir => "sync directory",
            Operation::Rename => "rename",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Metadata => "stat",
            Operation::Lock => "lock",
            Operation::FreeSpace => "free space of",
        })
    }
}

/// What failed, where, and why. It is found inside the [`io::Error`]s of this module, which keep the cause's kind.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct FsError {
    /// What was asked.
    pub operation: Operation,
    /// Of which path.
    pub path: PathBuf,
    /// What came of it.
    pub source: io::Error,
}

impl Operation {
    /// An error of this operation on `path`.
    pub(super) fn error(self, path: &Path, source: impl Into<io::Error>) -> io::Error {
        let source = source.into();
        io::Error::new(source.kind(), FsError { operation: self, path: path.to_owned(), source })
    }

    /// Turns a plain error into one that names this operation and `path`.
    pub(super) fn on<'a>(self, path: &'a Path) -> impl FnOnce(io::Error) -> io::Error + 'a {
        move |source| self.error(path, source)
    }
}

/// That two names stand in one directory, as a rename wants it.
pub(super) fn check_same_dir(from: &Path, to: &Path) -> io::Result<()> {
    if from.parent() == to.parent() && from.file_name().is_some() && to.file_name().is_some() {
        return Ok(());
    }
    let text = format!("{} is not in the same directory", to.display());
    Err(Operation::Rename.error(from, io::Error::new(io::ErrorKind::InvalidInput, text)))
}
