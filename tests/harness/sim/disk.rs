//! A node's disk: every operation is written into the trace, and syncs take their time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate::NodeId;
use quorate::env::Env;
use quorate::fs::{DirLock, File, Fs, Metadata, OpenMode};

use super::trace::Trace;

/// What a sync takes on a good disk, in microseconds: from and up to.
const SYNC_US: (u64, u64) = (100, 4_000);

/// Wraps a node's file system.
pub(super) struct SlowFs(Arc<Shared>);

struct Shared {
    node: NodeId,
    inner: Arc<dyn Fs>,
    env: Arc<dyn Env>,
    /// Up to so many milliseconds more for each sync.
    slowness: Arc<AtomicU64>,
    trace: Trace,
}

impl SlowFs {
    pub(super) fn new(
        node: NodeId,
        inner: Arc<dyn Fs>,
        env: Arc<dyn Env>,
        slowness: Arc<AtomicU64>,
        trace: Trace,
    ) -> Self {
        SlowFs(Arc::new(Shared { node, inner, env, slowness, trace }))
    }
}

impl Shared {
    fn note<T>(&self, what: &str, path: &Path, detail: u64, result: io::Result<T>) -> io::Result<T> {
        match &result {
            Ok(_) => self.trace.note(Some(self.node), format_args!("disk {what} {} {detail}", path.display())),
            Err(error) => self.trace.note(Some(self.node), format_args!("disk {what} {detail}: {error}")),
        }
        result
    }
}

impl Fs for SlowFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.note("mkdir", dir, 0, self.0.inner.create_dir_all(dir))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn File>> {
        let inner = self.0.note("open", path, mode as u64, self.0.inner.open(path, mode))?;
        Ok(Box::new(SlowFile { inner, path: path.to_owned(), shared: Arc::clone(&self.0) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.note("rename", to, 0, self.0.inner.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.note("remove", path, 0, self.0.inner.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.note("rmdir", dir, 0, self.0.inner.remove_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.inner.list(dir)
    }

    fn metadata(&self, path: &Path) -> io::Result<Option<Metadata>> {
        self.0.inner.metadata(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.note("syncdir", dir, 0, self.0.inner.sync_dir(dir))
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<DirLock> {
        self.0.inner.lock_dir(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.0.inner.free_space(dir)
    }
}

struct SlowFile {
    inner: Box<dyn File>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl SlowFile {
    fn note<T>(&self, what: &str, detail: u64, result: io::Result<T>) -> io::Result<T> {
        self.shared.note(what, &self.path, detail, result)
    }
}

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let result = self.inner.read_at(buffer, offset);
        self.note("read", offset, result)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        // The length too: it is what differs between runs that are not the same.
        self.note("write", offset << 24 | bytes.len() as u64 & 0xff_ffff, self.inner.write_at(bytes, offset))
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&self, bytes: u64) -> io::Result<()> {
        self.note("resize", bytes, self.inner.set_size(bytes))
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.note("allocate", bytes, self.inner.allocate(bytes))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note("sync", 0, self.inner.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.note("sync all", 0, self.inner.sync_all())
    }

    fn sync_delay(&self) -> Duration {
        let (from, to) = SYNC_US;
        let usual = from + self.shared.env.random() % (to - from);
        let slow = self.shared.slowness.load(Ordering::Relaxed) * 1_000;
        let more = if slow == 0 { 0 } else { self.shared.env.random() % slow };
        Duration::from_micros(usual + more) + self.inner.sync_delay()
    }
}
