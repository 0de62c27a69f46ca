//! The database of a process: one for all of its groups, in one directory.
//!
//! Promises: a batch is there whole or not at all; what was synced is there after a crash; damage is reported when the
//! database is opened or when the damaged place is read.
//! Leaves out: what the records mean (see [`super::layout`]).

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use quorate::GroupId;

use super::chain::Chain;
use super::janitor::Janitor;
use super::layout::{self, CopyId, Part};
use super::space::{Image, Slot, Space};

/// What the file `format` says.
const FORMAT: &str = "quorate kv 1\n";

/// How a database uses memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvDatabaseOptions {
    /// The bytes of the cache of blocks read, for all groups together.
    pub cache_bytes: u64,
    /// The bytes of changes that a group collects before it wants to be persisted; at twice as many it waits for it.
    pub overlay_bytes: usize,
    /// The bytes that the database itself collects before it writes a table.
    pub table_bytes: u64,
}

impl Default for KvDatabaseOptions {
    fn default() -> Self {
        KvDatabaseOptions { cache_bytes: 64 << 20, overlay_bytes: 16 << 20, table_bytes: 32 << 20 }
    }
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process, or another handle of this one, has it open.
    #[error("{0} is in use")]
    Locked(PathBuf),
    /// It was written by another version.
    #[error("{path} has the format {found:?}; this program reads {FORMAT:?}")]
    Format {
        /// The directory.
        path: PathBuf,
        /// What its format file says.
        found: String,
    },
    /// It is not as it was written.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The disk failed.
    #[error("{path}: {error}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// How.
        error: io::Error,
    },
}

/// The durable state of all groups of a process. Clones share it; it is closed with the last machine or view that uses it.
#[derive(Clone)]
pub struct KvDatabase(pub(in crate::kv) Arc<Inner>);

impl fmt::Debug for KvDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvDatabase").finish_non_exhaustive()
    }
}

/// An open database.
pub(in crate::kv) struct Inner {
    path: PathBuf,
    disk: Arc<Disk>,
    janitor: Janitor,
    pub(in crate::kv) options: KvDatabaseOptions,
    pub(super) keyspace: Keyspace,
    slots: Mutex<BTreeMap<GroupId, Arc<Mutex<Slot>>>>,
}

/// What the janitor needs of it.
pub(super) struct Disk {
    database: Database,
    pub(super) keyspace: Keyspace,
    chain: Mutex<Chain>,
}

impl KvDatabase {
    /// Opens the database in `dir`, which is made if it does not exist. Blocks: it reads its journal.
    ///
    /// # Errors
    /// [`StoreError`]. A damaged database is not repaired: its replicas are to be made anew from the others.
    pub fn open(dir: impl AsRef<Path>, options: KvDatabaseOptions) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        let io = |error| StoreError::Io { path: dir.into(), error };
        fs::create_dir_all(dir).map_err(io)?;
        let format = dir.join("format");
        let known = match fs::read_to_string(&format) {
            Ok(found) if found == FORMAT => true,
            Ok(found) => return Err(StoreError::Format { path: dir.into(), found }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(io(error)),
        };
        // The database meets some damage with a panic.
        let opened = catch_unwind(AssertUnwindSafe(|| Disk::open(&dir.join("store"), &options)));
        let opened = opened.unwrap_or_else(|panic| Err(Trouble::Damaged(text_of(panic.as_ref()))));
        let disk = Arc::new(opened.map_err(|trouble| trouble.at(dir))?);
        match (known, disk.is_new()) {
            (true, true) => {
                return Err(StoreError::Damaged { path: dir.into(), what: "all that was in it is gone".into() });
            }
            (true, false) => {}
            // The file says that there is something to be found: so not before there is.
            (false, _) => {
                disk.commit(disk.database.batch(), true).map_err(io)?;
                write_format(dir, &format).map_err(io)?;
            }
        }
        let (keyspace, janitor) = (disk.keyspace.clone(), Janitor::start(&disk).map_err(io)?);
        Ok(KvDatabase(Arc::new(Inner { path: dir.into(), disk, janitor, options, keyspace, slots: Mutex::default() })))
    }

    /// Forgets a group whose replica has left this node. Machines that were opened on it can be persisted no more. What it
    /// held is removed by and by. Blocks.
    ///
    /// # Errors
    /// When the disk failed.
    pub fn forget(&self, group: GroupId) -> Result<(), StoreError> {
        let forgotten = Space::take(&self.0, group).and_then(|space| space.forget());
        forgotten.map_err(|error| self.0.error(error))
    }

    /// The bytes that it takes on the disk.
    ///
    /// # Errors
    /// When its files cannot be looked at.
    pub fn disk_bytes(&self) -> io::Result<u64> {
        self.0.disk.database.disk_space().map_err(failed)
    }
}

/// Whole or not at all: the file says that the rest is there.
fn write_format(dir: &Path, format: &Path) -> io::Result<()> {
    let fresh = dir.join("format.new");
    let mut file = File::create(&fresh)?;
    file.write_all(FORMAT.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, format)?;
    File::open(dir)?.sync_all()
}

/// Why the database did not open.
pub(super) enum Trouble {
    Locked,
    Damaged(String),
    Io(io::Error),
}

impl Trouble {
    fn at(self, dir: &Path) -> StoreError {
        let path = dir.into();
        match self {
            Trouble::Locked => StoreError::Locked(path),
            Trouble::Damaged(what) => StoreError::Damaged { path, what },
            Trouble::Io(error) => StoreError::Io { path, error },
        }
    }
}

impl From<fjall::Error> for Trouble {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Trouble::Locked,
            fjall::Error::Io(error) if error.kind() != io::ErrorKind::UnexpectedEof => Trouble::Io(error),
            error => Trouble::Damaged(error.to_string()),
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it cannot be read").into()
}

impl Disk {
    fn open(dir: &Path, options: &KvDatabaseOptions) -> Result<Disk, Trouble> {
        let database = Database::builder(dir)
            .cache_size(options.cache_bytes)
            .max_journaling_size((4 * options.table_bytes).max(64 << 20))
            .worker_threads(2)
            // Each batch says itself what it wants.
            .manual_journal_persist(true)
            .open()?;
        let table_bytes = options.table_bytes;
        let create = || KeyspaceCreateOptions::default().max_memtable_size(table_bytes).manual_journal_persist(true);
        let keyspace = database.keyspace("kv", create)?;
        let chain = Chain::read(&keyspace)?;
        Ok(Disk { database, keyspace, chain: Mutex::new(chain) })
    }

    fn is_new(&self) -> bool {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).is_new()
    }

    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.database.batch()
    }

    /// Writes a batch. Says whether the chain has become long.
    pub(super) fn commit(&self, mut batch: OwnedWriteBatch, sync: bool) -> io::Result<bool> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.sign(&mut batch, &self.keyspace);
        let mode = if sync { PersistMode::SyncAll } else { PersistMode::Buffer };
        batch.durability(Some(mode)).commit().map_err(failed)?;
        Ok(chain.signed())
    }

    /// Has all that is in journals only written to tables, and then raises the chain's floor. Blocks; gives up when `stop`
    /// says so.
    pub(super) fn raise_floor(&self, stop: impl Fn() -> bool) -> io::Result<()> {
        let floor = self.chain.lock().unwrap_or_else(PoisonError::into_inner).next;
        self.keyspace.rotate_memtable().map_err(failed)?;
        while self.keyspace.sealed_memtable_count() > 0 {
            if stop() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        self.chain.lock().unwrap_or_else(PoisonError::into_inner).floor = floor;
        Ok(())
    }
}

/// Changes that are made together.
pub(in crate::kv) struct Batch {
    batch: OwnedWriteBatch,
    keyspace: Keyspace,
    group: GroupId,
    /// The copies that it writes to.
    pub(super) touched: BTreeSet<CopyId>,
}

impl Batch {
    /// Sets or removes what is called `name` in a part.
    pub(in crate::kv) fn change(&mut self, copy: CopyId, of: Part, name: &[u8], value: Option<&[u8]>) {
        let key = layout::named(self.group, copy, of, name);
        match value {
            Some(value) => self.batch.insert(&self.keyspace, key, value),
            None => self.batch.remove(&self.keyspace, key),
        }
        self.touched.insert(copy);
    }

    pub(super) fn put_head(&mut self, head: Vec<u8>) {
        self.batch.insert(&self.keyspace, layout::head(self.group), head);
    }

    pub(super) fn remove_head(&mut self) {
        self.batch.remove(&self.keyspace, layout::head(self.group));
    }
}

impl Inner {
    /// Why a group cannot be opened.
    pub(in crate::kv) fn error(&self, error: io::Error) -> StoreError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::InvalidData => StoreError::Damaged { path, what: error.to_string() },
            _ => StoreError::Io { path, error },
        }
    }

    pub(super) fn slot(&self, group: GroupId) -> Arc<Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(group).or_default())
    }

    /// The database as it is now.
    pub(in crate::kv) fn image(&self) -> Image {
        Arc::new(self.disk.database.snapshot())
    }

    /// The copies of which something is stored, found by leaping from one to the next.
    pub(in crate::kv) fn copies(&self, group: GroupId) -> io::Result<BTreeSet<CopyId>> {
        let mut copies = BTreeSet::new();
        let mut from = layout::copy(group, CopyId(1));
        let end = layout::group_end(group);
        while let Some(first) = self.keyspace.range(from..end.clone()).next() {
            let key = first.key().map_err(failed)?;
            let copy = layout::copy_of(&key).ok_or_else(|| io::Error::other("a record of no copy"))?;
            copies.insert(copy);
            from = layout::copy(group, CopyId(copy.0 + 1));
        }
        Ok(copies)
    }

    pub(super) fn batch(&self, group: GroupId) -> Batch {
        Batch { batch: self.disk.batch(), keyspace: self.keyspace.clone(), group, touched: BTreeSet::new() }
    }

    pub(super) fn commit(&self, batch: Batch, sync: bool) -> io::Result<Image> {
        if self.disk.commit(batch.batch, sync)? {
            self.janitor.raise_floor();
        }
        Ok(self.image())
    }

    /// Has a copy removed that nothing refers to, a little at a time.
    pub(super) fn sweep(&self, group: GroupId, copy: CopyId) {
        self.janitor.sweep(group, copy);
    }

    /// Frees what may be large elsewhere. It must not refer to the database, which is else closed when nobody expects it.
    pub(in crate::kv) fn free(&self, what: impl Any + Send) {
        self.janitor.free(Box::new(what));
    }
}

/// A failure of the database, as the library knows it.
pub(in crate::kv) fn failed(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) => error,
        error => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
    }
}

#[cfg(test)]
mod tests;
