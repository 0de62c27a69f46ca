//! Damage: a file does not say what was written into it.

use std::io;
use std::path::{Path, PathBuf};

/// What was written and synced cannot be read as it was. It is found inside the [`io::Error`]s that it becomes.
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
    /// Damage to `path` at `offset`.
    pub fn new(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Damaged { path: path.to_owned(), offset, what: what.into() }
    }
}

impl From<Damaged> for io::Error {
    fn from(damaged: Damaged) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, damaged)
    }
}
