//! What one node's replicas are made of: a log and snapshots for each group, in memory or in one directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use quorate::env::{Env, RealEnv};
use quorate::fs::{Fs, RealFs};
use quorate::log::{DiskLog, DiskLogOptions, LogStore, MemoryLog};
use quorate::snapshot::{DiskSnapshots, MemorySnapshots, SnapshotStore};
use quorate::{Fatal, GroupId};

/// One group's log and snapshots.
pub(crate) type OfGroup = (Arc<dyn LogStore>, Arc<dyn SnapshotStore>);

/// The logs and snapshots of all groups that one node has replicas of. A group's are the same ones whenever they are asked
/// for: a replica that is started again finds what it had.
pub(crate) struct Stores {
    disk: Option<Disk>,
    known: Mutex<BTreeMap<GroupId, OfGroup>>,
}

struct Disk {
    fs: Arc<dyn Fs>,
    env: Arc<dyn Env>,
    snapshots: PathBuf,
    log: Arc<DiskLog>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores")
            .field("snapshots", &self.disk.as_ref().map(|disk| &disk.snapshots))
            .finish_non_exhaustive()
    }
}

/// The settings of the log of a node that may be one of many on this machine: its files are small.
pub(crate) fn small_log() -> DiskLogOptions {
    DiskLogOptions { segment_bytes: 8 << 20, cache_bytes: 16 << 20, ..DiskLogOptions::default() }
}

impl Stores {
    /// In memory: gone with the process.
    pub(crate) fn in_memory() -> Stores {
        Stores { disk: None, known: Mutex::default() }
    }

    /// Of one group alone, which has these.
    pub(crate) fn holding(group: GroupId, of: OfGroup) -> Stores {
        Stores { disk: None, known: Mutex::new(BTreeMap::from([(group, of)])) }
    }

    /// Opens what is in `dir`, off the runtime's threads: all of the log is read first.
    ///
    /// # Errors
    /// When the log is in use or damaged, or the disk fails.
    pub(crate) async fn open(dir: &Path, options: DiskLogOptions) -> anyhow::Result<Stores> {
        let (fs, env): (Arc<dyn Fs>, Arc<dyn Env>) = (Arc::new(RealFs), Arc::new(RealEnv));
        let opening = {
            let (fs, env, dir) = (Arc::clone(&fs), Arc::clone(&env), dir.join("log"));
            tokio::task::spawn_blocking(move || DiskLog::open(fs, env, &dir, options))
        };
        let log = opening.await?.context("cannot open the log")?;
        Ok(Stores::over(fs, env, dir.join("snapshots"), log))
    }

    /// On a log that is open, with snapshots in a directory of their own.
    pub(crate) fn over(fs: Arc<dyn Fs>, env: Arc<dyn Env>, snapshots: PathBuf, log: Arc<DiskLog>) -> Stores {
        Stores { disk: Some(Disk { fs, env, snapshots, log }), known: Mutex::default() }
    }

    /// What a replica of `group` is made of.
    ///
    /// # Errors
    /// [`Fatal`] when its snapshots are damaged, or the disk fails.
    pub(crate) fn of(&self, group: GroupId) -> Result<OfGroup, Fatal> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = known.get(&group) {
            return Ok(held.clone());
        }
        let made: OfGroup = match &self.disk {
            None => (Arc::new(MemoryLog::new()), Arc::new(MemorySnapshots::new())),
            Some(Disk { fs, env, snapshots, log }) => {
                let kept = DiskSnapshots::open(Arc::clone(fs), Arc::clone(env), snapshots, group);
                let kept = kept.map_err(|error| Fatal(format!("snapshots of {group}: {error}")))?;
                (log.group(group), Arc::new(kept))
            }
        };
        known.insert(group, made.clone());
        Ok(made)
    }

    /// Writes what is queued; then the directory may be opened again.
    pub(crate) async fn close(&self) {
        if let Some(disk) = &self.disk {
            disk.log.close().await;
        }
    }
}
