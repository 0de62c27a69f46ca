//! A thread that does what nobody waits for: removing copies, freeing memory, keeping the chain short.
//!
//! Promises: a copy is removed by batches of bounded size; what a crash leaves of one is removed after the next start.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use quorate::GroupId;

use super::database::{Disk, failed};
use super::layout::{self, CopyId};

/// How many records are removed by one batch.
const SWEEP: usize = 4096;

enum Job {
    Sweep(GroupId, CopyId),
    Free(Box<dyn Any + Send>),
    RaiseFloor,
}

/// Its work is dropped, and its thread ends, with it.
pub(super) struct Janitor {
    jobs: Option<Sender<Job>>,
    closing: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    pub(super) fn start(disk: &Arc<Disk>) -> io::Result<Janitor> {
        let (sender, jobs) = channel();
        let closing = Arc::new(AtomicBool::new(false));
        let (disk, stop) = (Arc::clone(disk), Arc::clone(&closing));
        let run = move || {
            for job in jobs {
                let stop = || stop.load(Ordering::Relaxed);
                let done = match job {
                    Job::Free(what) => {
                        drop(what);
                        Ok(())
                    }
                    _ if stop() => Ok(()),
                    Job::Sweep(group, copy) => sweep(&disk, group, copy, stop),
                    Job::RaiseFloor => disk.raise_floor(stop),
                };
                if let Err(error) = done {
                    tracing::error!(%error, "tidying up the kv database failed; it is tried again after the next start");
                }
            }
        };
        let thread = std::thread::Builder::new().name("kv-janitor".into()).spawn(run)?;
        Ok(Janitor { jobs: Some(sender), closing, thread: Some(thread) })
    }

    pub(super) fn sweep(&self, group: GroupId, copy: CopyId) {
        self.ask(Job::Sweep(group, copy));
    }

    pub(super) fn free(&self, what: Box<dyn Any + Send>) {
        self.ask(Job::Free(what));
    }

    pub(super) fn raise_floor(&self) {
        self.ask(Job::RaiseFloor);
    }

    fn ask(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // It only fails once the thread is gone; then nothing is tidied up before the next start.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It panics with the database, which has then told why.
            let _ = thread.join();
        }
    }
}

fn sweep(disk: &Disk, group: GroupId, copy: CopyId, stop: impl Fn() -> bool) -> io::Result<()> {
    let mut range = layout::copy_range(group, copy);
    while !stop() {
        let keys = disk.keyspace.range(range.clone()).take(SWEEP).map(|record| record.key());
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let Some(last) = keys.last() else { break };
        // Right after it.
        range.start = [last, &[0][..]].concat();
        let mut batch = disk.batch();
        keys.into_iter().for_each(|key| batch.remove(&disk.keyspace, key));
        disk.commit(batch, false)?;
    }
    Ok(())
}
