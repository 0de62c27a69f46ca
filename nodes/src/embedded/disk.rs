//! A whole cluster's data below one directory: a log and snapshots for each simulated node, and a book of the groups, which
//! gives each its number for good.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, ensure};
use quorate::fs::{DirLock, Fs, RealFs, create_dir_durably, read_whole, replace_durably};
use quorate::types::GroupId;
use quorate::{Fatal, NodeId};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::disk::{Stores, Whose, begin_life, directory_of, small_log};

const BOOK: &str = "groups.json";

/// The only version of the book so far.
const FORMAT: u32 = 1;

/// The groups in the order in which they were first named.
#[derive(Serialize, Deserialize)]
struct Book {
    format: u32,
    groups: Vec<String>,
}

/// The directory of a cluster that is one process.
pub(super) struct WorldDisk {
    dir: PathBuf,
    /// How often a process was started on it before.
    lives: u64,
    book: Mutex<Book>,
    /// Each is opened by whoever asks first.
    nodes: Mutex<BTreeMap<String, Arc<OnceCell<Arc<Stores>>>>>,
    _lock: DirLock,
}

impl fmt::Debug for WorldDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorldDisk").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl WorldDisk {
    /// Opens the directory, or makes it.
    ///
    /// # Errors
    /// When it is in use, damaged, or of another topology.
    pub(super) fn open(dir: &Path, whose: &Whose) -> anyhow::Result<WorldDisk> {
        let fs = RealFs;
        create_dir_durably(&fs, dir)?;
        let lock = fs.lock_dir(dir).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => anyhow::anyhow!("{} is in use", dir.display()),
            _ => error.into(),
        })?;
        whose.take(&fs, dir)?;
        let book = Mutex::new(read_book(&fs, &dir.join(BOOK))?);
        let lives = begin_life(&fs, dir)?;
        Ok(WorldDisk { dir: dir.to_owned(), lives, book, nodes: Mutex::default(), _lock: lock })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lives(&self) -> u64 {
        self.lives
    }

    /// The groups that were ever named.
    pub(super) fn groups(&self) -> Vec<String> {
        self.book().groups.clone()
    }

    /// A group's number, which it keeps.
    ///
    /// # Errors
    /// [`Fatal`] when a new one cannot be written down.
    pub(super) fn group(&self, name: &str) -> Result<GroupId, Fatal> {
        let mut book = self.book();
        let known = book.groups.iter().position(|known| known == name);
        let place = known.unwrap_or(book.groups.len());
        if known.is_none() {
            let mut groups = book.groups.clone();
            groups.push(name.to_owned());
            let longer = Book { format: FORMAT, groups };
            let written = serde_json::to_vec(&longer).map_err(std::io::Error::from);
            let written = written.and_then(|bytes| replace_durably(&RealFs, &self.dir.join(BOOK), &bytes));
            written.map_err(|error| Fatal(format!("group {name} cannot be written down: {error}")))?;
            *book = longer;
        }
        Ok(GroupId(place as u64 + 1))
    }

    /// What the simulated node of this name has; the same whenever it is asked for.
    ///
    /// # Errors
    /// [`Fatal`] when it is damaged.
    pub(super) async fn node(&self, name: &str) -> Result<Arc<Stores>, Fatal> {
        let cell = Arc::clone(self.cells().entry(name.to_owned()).or_default());
        let dir = self.dir.join(directory_of(name));
        let opened = cell.get_or_try_init(async || Stores::open(&dir, small_log()).await.map(Arc::new)).await;
        opened.map(Arc::clone).map_err(|error| Fatal(format!("node {name}: {error:#}")))
    }

    fn cells(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OnceCell<Arc<Stores>>>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued.
    pub(super) async fn close(&self) {
        let all: Vec<_> = self.cells().values().cloned().collect();
        for stores in all.iter().filter_map(|cell| cell.get()) {
            stores.close().await;
        }
    }
}

/// The number of the nth replica of a group.
pub(super) fn node_id(group: GroupId, nth: usize) -> NodeId {
    NodeId((group.0 << 32) + nth as u64 + 1)
}

fn read_book(fs: &dyn Fs, path: &Path) -> anyhow::Result<Book> {
    if fs.metadata(path)?.is_none() {
        return Ok(Book { format: FORMAT, groups: Vec::new() });
    }
    let bytes = read_whole(fs, path)?;
    let book: Book = serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))?;
    ensure!(book.format == FORMAT, "{} has format {}; this is {FORMAT}", path.display(), book.format);
    Ok(book)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose() -> Whose {
        Whose::whole("test", vec!["n1".into()], None)
    }

    #[tokio::test]
    async fn a_group_keeps_its_number_whatever_is_asked_for_first() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = WorldDisk::open(dir.path(), &whose()).expect("new");
        assert_eq!(["a", "b", "a"].map(|name| disk.group(name).expect("a number").0), [1, 2, 1]);
        drop(disk);
        let disk = WorldDisk::open(dir.path(), &whose()).expect("known");
        assert_eq!(["c", "b", "a"].map(|name| disk.group(name).expect("a number").0), [3, 2, 1]);
        assert_eq!((disk.groups(), disk.lives()), (vec!["a".into(), "b".into(), "c".into()], 1));
    }

    #[tokio::test]
    async fn a_directory_in_use_or_with_a_damaged_book_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = WorldDisk::open(dir.path(), &whose()).expect("new");
        let refusal = WorldDisk::open(dir.path(), &whose()).expect_err("in use").to_string();
        assert!(refusal.contains("in use"), "{refusal}");
        disk.group("a").expect("a number");
        drop(disk);
        std::fs::write(dir.path().join(BOOK), "{\"format\":1,\"groups\":[").expect("written");
        let refusal = WorldDisk::open(dir.path(), &whose()).expect_err("damaged").to_string();
        assert!(refusal.contains("damaged"), "{refusal}");
    }
}
