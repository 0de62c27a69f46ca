//! What a register with one writer, who only raises it, may be read as.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::env::Moment;

/// All writes and reads of one register, on one clock. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Oracle(Arc<Mutex<History>>);

#[derive(Default)]
struct History {
    /// By rising value.
    invoked: Vec<(Moment, u64)>,
    acknowledged: Vec<(Moment, u64)>,
    reads: Vec<Seen>,
}

/// One read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) began: Moment,
    /// No later than the reply was made.
    pub(crate) made: Moment,
    pub(crate) ended: Moment,
    pub(crate) value: u64,
    /// What the reply claims.
    pub(crate) staleness: Duration,
    pub(crate) linearizable: bool,
}

impl Oracle {
    pub(crate) fn invoke(&self, at: Moment, value: u64) {
        self.0.lock().unwrap().invoked.push((at, value));
    }

    pub(crate) fn acknowledge(&self, at: Moment, value: u64) {
        self.0.lock().unwrap().acknowledged.push((at, value));
    }

    pub(crate) fn see(&self, read: Seen) {
        self.0.lock().unwrap().reads.push(read);
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let history = self.0.lock().unwrap();
        (history.acknowledged.len(), history.reads.len())
    }

    /// The newest acknowledged value.
    pub(crate) fn newest(&self) -> u64 {
        self.0.lock().unwrap().acknowledged.iter().map(|(_, value)| *value).max().unwrap_or(0)
    }

    /// Every read saw what it had to see and nothing from the future; linearizable reads never go back.
    pub(crate) fn check(&self) {
        let history = self.0.lock().unwrap();
        let newest = |list: &[(Moment, u64)], until: Moment| {
            list.iter().filter(|(at, _)| *at < until).map(|(_, value)| *value).max().unwrap_or(0)
        };
        for read in &history.reads {
            let since = if read.linearizable { read.began } else { read.made - read.staleness };
            let floor = newest(&history.acknowledged, since);
            assert!(read.value >= floor, "{read:?} is older than it claims: {floor} was acknowledged before");
            let ceiling = history.invoked.iter().filter(|(at, _)| *at <= read.ended).map(|(_, value)| *value).max();
            assert!(read.value <= ceiling.unwrap_or(0), "{read:?} comes from the future");
        }
        let mut linearizable: Vec<_> = history.reads.iter().filter(|read| read.linearizable).collect();
        linearizable.sort_by_key(|read| read.began);
        for later in &linearizable {
            let earlier = linearizable.iter().filter(|read| read.ended < later.began).map(|read| read.value).max();
            assert!(later.value >= earlier.unwrap_or(0), "{later:?} goes back behind {earlier:?}");
        }
    }
}
