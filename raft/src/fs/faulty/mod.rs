//! A file system that fails by rule: what the log and the snapshots are tested against.

mod rule;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::operation::check_same_dir;
use super::{DirLock, File, Fs, Metadata, OpenMode, Operation};
use crate::env::Env;

use rule::Rules;
pub use rule::{Fault, Rule, When};

/// Wraps another file system and makes it fail. Clones share the rules.
#[derive(Clone)]
pub struct FaultyFs {
    inner: Arc<dyn Fs>,
    faults: Arc<Faults>,
}

struct Faults {
    env: Arc<dyn Env>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Rules,
    operations: u64,
}

impl FaultyFs {
    /// Wraps `inner`; nothing fails yet. Chances are taken from `env`.
    pub fn new(inner: Arc<dyn Fs>, env: Arc<dyn Env>) -> Self {
        FaultyFs { inner, faults: Arc::new(Faults { env, state: Mutex::default() }) }
    }

    /// Adds a rule. Of several that make an operation fail, the first counts.
    pub fn add(&self, rule: Rule) {
        self.faults.with(|state| state.rules.add(rule));
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.faults.with(|state| state.rules.clear());
    }

    /// How many operations there were: a test that lets each of them fail in turn knows when it is done.
    pub fn operations(&self) -> u64 {
        self.faults.with(|state| state.operations)
    }

    /// Carries an operation out unless a rule makes it fail.
    fn act<T>(&self, operation: Operation, path: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.faults.check(operation, path)?;
        act()
    }
}

impl fmt::Debug for FaultyFs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFs").finish_non_exhaustive()
    }
}

impl Faults {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The fault that hits this operation, if one does.
    fn draw(&self, operation: Operation, path: &Path) -> Option<Fault> {
        self.with(|state| {
            state.operations += 1;
            state.rules.failure(&*self.env, operation, path)
        })
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        match self.draw(operation, path) {
            Some(fault @ (Fault::Io | Fault::NoSpace)) => Err(error(fault, operation, path)),
            _ => Ok(()),
        }
    }

    /// A number below `bound`; zero when the bound is.
    fn below(&self, bound: usize) -> usize {
        (self.env.random() % (bound.max(1) as u64)) as usize
    }
}

fn error(fault: Fault, operation: Operation, path: &Path) -> io::Error {
    let errno = if fault == Fault::Io { rustix::io::Errno::IO } else { rustix::io::Errno::NOSPC };
    operation.error(path, errno)
}

impl Fs for FaultyFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::CreateDir, dir, || self.inner.create_dir_all(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let operation = if mode.creates() { Operation::Create } else { Operation::Open };
        let inner = self.act(operation, path, || self.inner.open(path, mode))?;
        let faults = Arc::clone(&self.faults);
        Ok(Box::new(FaultyFile { inner, faults, path: path.to_owned(), sync_failed: AtomicBool::new(false) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        check_same_dir(from, to)?;
        self.act(Operation::Rename, from, || self.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(Operation::Remove, path, || self.inner.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::Remove, dir, || self.inner.remove_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.act(Operation::List, dir, || self.inner.list(dir))
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.act(Operation::Metadata, path, || self.inner.metadata(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.act(Operation::SyncDir, dir, || self.inner.sync_dir(dir))
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        self.act(Operation::Lock, dir, || self.inner.lock_dir(dir))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        match self.faults.draw(Operation::FreeSpace, dir) {
            Some(Fault::NoSpace) => Ok(0),
            Some(fault) => Err(error(fault, Operation::FreeSpace, dir)),
            None => self.inner.free_space(dir),
        }
    }
}

struct FaultyFile {
    inner: Box<dyn File>,
    faults: Arc<Faults>,
    path: PathBuf,
    sync_failed: AtomicBool,
}

impl FaultyFile {
    fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let result = self.faults.check(Operation::Sync, &self.path);
        if self.sync_failed.fetch_or(result.is_err(), Ordering::Relaxed) || result.is_err() {
            return result;
        }
        sync()
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.faults.draw(Operation::Read, &self.path) {
            Some(fault @ Fault::Io) => Err(error(fault, Operation::Read, &self.path)),
            Some(Fault::Short) if buffer.len() > 1 => {
                let short = 1 + self.faults.below(buffer.len() - 1);
                self.inner.read_at(&mut buffer[..short], offset)
            }
            Some(Fault::Flip) => {
                let read = self.inner.read_at(buffer, offset)?;
                if let Some(byte) = buffer[..read].get_mut(self.faults.below(read)) {
                    *byte ^= 1 << self.faults.below(8);
                }
                Ok(read)
            }
            _ => self.inner.read_at(buffer, offset),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.draw(Operation::Write, &self.path) {
            Some(Fault::Short) => {
                self.inner.write_at(&bytes[..self.faults.below(bytes.len())], offset)?;
                Err(error(Fault::NoSpace, Operation::Write, &self.path))
            }
            Some(fault) => Err(error(fault, Operation::Write, &self.path)),
            None => self.inner.write_at(bytes, offset),
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.faults.check(Operation::Metadata, &self.path)?;
        self.inner.size()
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.faults.check(Operation::Resize, &self.path)?;
        self.inner.set_size(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.faults.check(Operation::Resize, &self.path)?;
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|| self.inner.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|| self.inner.sync_all())
    }

    fn sync_delay(&self) -> Duration {
        let own = self.faults.with(|state| state.rules.delay(&*self.faults.env, &self.path));
        own + self.inner.sync_delay()
    }
}
