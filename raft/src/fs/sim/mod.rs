//! A simulated disk: files in memory that forget at a crash what was not synced.
//!
//! Promises: after a crash every file holds what was synced and some of what was not, every directory the names that
//! were synced and the first few changes that were not; the same seed loses the same. Nothing of an earlier life of
//! the process can touch the disk any more.
//! Leaves out: times, rights and links; decay of what was synced.

mod content;
mod directory;
mod disk;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::operation::check_same_dir;
use super::{DirLock, File, Fs, Metadata, OpenMode, Operation};
use disk::{Disk, FileId};

/// What a crash leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// Of each file the first few writes; the next one may be torn at any byte, with or without zeros after it.
    Prefix,
    /// Any of the sectors written, in no order: what a disk may do that is not told to order its writes.
    Scattered,
}

/// A simulated disk as one life of a process sees it. Clones see the same.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
    life: u64,
}

impl SimFs {
    /// An empty disk without bounds.
    pub fn new() -> Self {
        SimFs { disk: Arc::default(), life: 0 }
    }

    /// From now on the files take at most so many bytes together; without a bound when `None`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().set_capacity(bytes);
    }

    /// The power fails. Gives the disk as the next life finds it; this one and all its files fail from now on.
    pub fn crash(&self, seed: u64) -> SimFs {
        self.crash_as(seed, CrashStyle::Prefix)
    }

    /// As [`Self::crash`], in the style given.
    pub fn crash_as(&self, seed: u64, style: CrashStyle) -> SimFs {
        let mut disk = self.lock();
        disk.forget(&mut SmallRng::seed_from_u64(seed), style);
        self.next_life(&mut disk)
    }

    /// Only the process dies: nothing written is lost. Gives the disk as the next life finds it; this one and all its
    /// files fail from now on.
    pub fn restart(&self) -> SimFs {
        let mut disk = self.lock();
        self.next_life(&mut disk)
    }

    fn next_life(&self, disk: &mut Disk) -> SimFs {
        SimFs { disk: Arc::clone(&self.disk), life: disk.begin_life() }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an operation of this life.
    fn act<T>(&self, operation: Operation, path: &Path, act: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.lock();
        if disk.life() != self.life {
            return Err(operation.error(path, io::Error::other("the process that opened this has crashed")));
        }
        act(&mut disk).map_err(operation.on(path))
    }
}

impl Default for SimFs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SimFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFs").field("life", &self.life).finish_non_exhaustive()
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::CreateDir, dir, |disk| disk.create_dir_all(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let operation = if mode.creates() { Operation::Create } else { Operation::Open };
        let file = self.act(operation, path, |disk| disk.open(path, mode))?;
        let writable = mode != OpenMode::Read;
        Ok(Box::new(SimFile { fs: self.clone(), file, path: path.to_owned(), writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        check_same_dir(from, to)?;
        self.act(Operation::Rename, from, |disk| disk.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(Operation::Remove, path, |disk| disk.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::Remove, dir, |disk| disk.remove_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.act(Operation::List, dir, |disk| disk.list(dir))
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.act(Operation::Metadata, path, |disk| disk.metadata(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::SyncDir, dir, |disk| disk.sync_dir(dir))
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        let id = self.act(Operation::Lock, dir, |disk| disk.lock_dir(dir))?;
        Ok(DirLock::held_by(SimLock { fs: self.clone(), id }))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.act(Operation::FreeSpace, dir, |disk| disk.list(dir).map(|_| disk.free_space()))
    }
}

struct SimLock {
    fs: SimFs,
    id: disk::DirId,
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.fs.lock();
        if disk.life() == self.fs.life {
            disk.unlock_dir(self.id);
        }
    }
}

struct SimFile {
    fs: SimFs,
    file: FileId,
    path: PathBuf,
    writable: bool,
}

impl SimFile {
    fn change(&self, operation: Operation, act: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        if !self.writable {
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "opened for reading");
            return Err(operation.error(&self.path, source));
        }
        self.fs.act(operation, &self.path, act)
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.act(Operation::Read, &self.path, |disk| Ok(disk.file(self.file)?.read_at(buffer, offset)))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Operation::Write, |disk| disk.write_at(self.file, bytes, offset))
    }

    fn size(&self) -> io::Result<u64> {
        self.fs.act(Operation::Metadata, &self.path, |disk| Ok(disk.file(self.file)?.size()))
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.change(Operation::Resize, |disk| disk.set_size(self.file, bytes))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.change(Operation::Resize, |disk| {
            let size = disk.file(self.file)?.size();
            if bytes > size { disk.set_size(self.file, bytes) } else { Ok(()) }
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.fs.act(Operation::Sync, &self.path, |disk| {
            disk.file(self.file)?.sync();
            Ok(())
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut disk = self.fs.lock();
        if disk.life() == self.fs.life {
            disk.close(self.file);
        }
    }
}
