//! A few threads for writing and syncing snapshots, shared by all groups of the process: a thousand groups that take theirs
//! at the same time take turns.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

/// How many snapshots are written at once.
const THREADS: usize = 4;

type Job = Box<dyn FnOnce() + Send>;

/// Has one of the threads run `job`, in its turn.
///
/// # Errors
/// When there are no threads to be had.
pub(super) fn run(job: Job) -> io::Result<()> {
    static JOBS: LazyLock<Sender<Job>> = LazyLock::new(start);
    JOBS.send(job).map_err(|_| io::Error::other("there is no thread to write snapshots on"))
}

fn start() -> Sender<Job> {
    let (sender, jobs) = channel::<Job>();
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..THREADS {
        let jobs = Arc::clone(&jobs);
        // If none starts, the receiver is gone, and every job is told so.
        let _ = std::thread::Builder::new().name("quorate-snapshot".into()).spawn(move || work(&jobs));
    }
    sender
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            // A view that panics ends its own snapshot, and no thread.
            Ok(job) => drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job))),
            Err(_) => return,
        }
    }
}
