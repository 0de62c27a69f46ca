//! The log of a host: opened once, with a handle for each group.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::DiskLogOptions;
use super::committer::Committer;
use super::error::OpenError;
use super::queue::{Done, Frame};
use super::record::Effect;
use super::recovery::{Recovered, recover};
use super::room::Use;
use super::shared::Shared;
use super::state::{State, Usage, outlines};
use super::store::GroupLog;
use crate::env::Env;
use crate::fs::{Fs, create_dir_durably};
use crate::log::LogStore;
use crate::types::GroupId;
use crate::watch;

/// One log on disk for all groups of a host.
///
/// When the last handle to it and to its groups is dropped, what is queued is written, and then the log ends by itself.
pub struct DiskLog {
    pub(super) shared: Arc<Shared>,
    ended: watch::Receiver<()>,
}

impl fmt::Debug for DiskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskLog").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

impl DiskLog {
    /// Opens the log in `dir`, or makes an empty one. Reads all of it first, which may take a second for each gigabyte.
    ///
    /// # Errors
    /// [`OpenError`]; then nothing has changed that a later attempt could miss.
    pub fn open(
        fs: Arc<dyn Fs>,
        env: Arc<dyn Env>,
        dir: &Path,
        options: DiskLogOptions,
    ) -> Result<Arc<DiskLog>, OpenError> {
        create_dir_durably(&*fs, dir)?;
        let lock = fs.lock_dir(dir).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse(dir.to_owned()),
            _ => error.into(),
        })?;
        let Recovered { groups, segments, number, next_sequence } = recover(&*fs, dir)?;
        let checkpoint = outlines(&groups);
        let state = State::new(options.sane(), groups, segments, next_sequence);
        let shared = Arc::new(Shared::new(fs, env, dir.to_owned(), state));
        let (sender, ended) = watch::channel(());
        let committer = Committer::new(Arc::clone(&shared), checkpoint, number + 1, next_sequence - 1, lock, sender)?;
        committer.start()?;
        Ok(Arc::new(DiskLog { shared, ended }))
    }

    /// One group's part of the log; an empty one if the group is new here.
    pub fn group(self: &Arc<Self>, group: GroupId) -> Arc<dyn LogStore> {
        Arc::new(GroupLog { log: Arc::clone(self), group })
    }

    /// The groups that the log knows.
    pub fn groups(&self) -> Vec<GroupId> {
        self.shared.state().groups.keys().copied().collect()
    }

    /// Forgets a group with its entries and its vote. When this returns, it is forgotten for good. Nobody must be using the
    /// group's handle: whatever is done to a forgotten group makes it known again.
    ///
    /// # Errors
    /// When the log has failed or is closed.
    pub async fn forget(&self, group: GroupId) -> io::Result<()> {
        let frame = Frame::of(group, Effect::Removed)?;
        let (waiter, forgotten) = oneshot::channel();
        let queue = |state: &mut State| {
            if state.groups.contains_key(&group) {
                state.record(group, &frame);
            }
            state.queue.done.push(Done::Waiter(waiter));
            Ok(())
        };
        self.shared.enqueue(group, frame.bytes.len() as u64, Use::Control, queue).await?;
        forgotten.await.unwrap_or_else(|_| Err(io::Error::other("the log dropped a request")))
    }

    /// What the log holds and has done.
    pub fn usage(&self) -> Usage {
        self.shared.state().usage()
    }

    /// Writes what is queued, and ends. When this returns, the directory may be opened again; every later call of a handle
    /// is an error.
    pub async fn close(&self) {
        self.end();
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    fn end(&self) {
        self.shared.state().closing = true;
        self.shared.wanted.notify_one();
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.end();
    }
}
