//! The log as its handles see it: the state behind its lock, and the way to wake the committer.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::room::{Use, Want};
use super::state::{End, State};
use crate::env::Env;
use crate::fs::Fs;
use crate::types::GroupId;

/// What the committer, the groups' handles and the log's owner share.
pub(super) struct Shared {
    pub(super) fs: Arc<dyn Fs>,
    pub(super) env: Arc<dyn Env>,
    pub(super) dir: PathBuf,
    state: Mutex<State>,
    /// Tells the committer that there is something to do.
    pub(super) wanted: Notify,
}

impl Shared {
    pub(super) fn new(fs: Arc<dyn Fs>, env: Arc<dyn Env>, dir: PathBuf, state: State) -> Self {
        Shared { fs, env, dir, state: Mutex::new(state), wanted: Notify::new() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, unless nothing is accepted any more.
    pub(super) fn usable(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        state.check().map(|()| state)
    }

    /// Waits until so many bytes may be queued, and has `queue` queue them.
    pub(super) async fn enqueue<T>(
        &self,
        group: GroupId,
        bytes: u64,
        purpose: Use,
        queue: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        // Whoever waits goes first, or an append as large as the queue would never find it empty.
        let mut has_waited = false;
        loop {
            let room = {
                let mut state = self.usable()?;
                let is_next = has_waited || purpose == Use::Control || state.wants.is_empty();
                if bytes == 0 || is_next && state.fits(group, bytes, purpose) {
                    let queued = queue(&mut state);
                    drop(state);
                    self.wanted.notify_one();
                    return queued;
                }
                let (answer, room) = oneshot::channel();
                state.wants.push_back(Want { group, bytes, purpose, answer });
                room
            };
            self.wanted.notify_one();
            room.await.unwrap_or_else(|_| Err(End::Closed.error()))?;
            has_waited = true;
        }
    }

    /// Ends the log: whoever waits is told, and so is whoever comes.
    pub(super) fn finish(&self, end: End) {
        let (done, wants) = self.state().finish(end.clone());
        for done in done {
            done.complete(Err(end.error()));
        }
        for want in wants {
            let _ = want.answer.send(Err(end.error()));
        }
    }
}

/// How the committer waits: a thread of its own may block, a task in a simulation must not.
pub(super) enum Pace {
    Thread,
    Task(Arc<dyn Env>),
}

impl Pace {
    /// Waits, and lets others run.
    pub(super) async fn pause(&self, delay: Duration) {
        match self {
            Pace::Thread if delay.is_zero() => {}
            Pace::Thread => std::thread::sleep(delay),
            Pace::Task(_) if delay.is_zero() => tokio::task::yield_now().await,
            Pace::Task(env) => env.sleep(delay).await,
        }
    }
}
