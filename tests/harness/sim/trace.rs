//! The trace of a run: everything that happens, one line each, folded into a hash as it happens.

use std::fmt::{self, Write};
use std::hash::Hasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::NodeId;
use twox_hash::XxHash3_64;

/// The trace of one run. Clones are the same.
#[derive(Clone)]
pub struct Trace(Arc<Shared>);

struct Shared {
    start: tokio::time::Instant,
    state: Mutex<State>,
}

struct State {
    hash: XxHash3_64,
    count: u64,
    line: String,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace that begins now. To be made inside the run's runtime. The lines are kept only when `keep` says so.
    pub(super) fn new(keep: bool) -> Self {
        let state = State { hash: XxHash3_64::new(), count: 0, line: String::new(), lines: keep.then(Vec::new) };
        Trace(Arc::new(Shared { start: tokio::time::Instant::now(), state: Mutex::new(state) }))
    }

    /// How long the run has taken.
    pub fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Something happened at a node, or anywhere.
    pub fn note(&self, node: Option<NodeId>, what: fmt::Arguments<'_>) {
        let now = self.now();
        let mut state = self.state();
        let State { hash, count, line, lines } = &mut *state;
        line.clear();
        // Writing to a string cannot fail.
        let _ = match node {
            Some(node) => write!(line, "{:>13.6} {node:<4} {what}", now.as_secs_f64() * 1e3),
            None => write!(line, "{:>13.6}      {what}", now.as_secs_f64() * 1e3),
        };
        hash.write(line.as_bytes());
        hash.write_u8(b'\n');
        *count += 1;
        if let Some(lines) = lines {
            lines.push(line.clone());
        }
    }

    /// The hash of all that happened so far, and how many lines that is.
    pub fn hash(&self) -> (u64, u64) {
        let state = self.state();
        (state.hash.finish(), state.count)
    }

    pub(super) fn take_lines(&self) -> Vec<String> {
        self.state().lines.take().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}
