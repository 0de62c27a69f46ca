//! Which entries of a log are not flushed yet, so that none of them leaves its node too early.
//!
//! openraft sends an entry as soon as it is submitted. Where a replica may go on without its only peer, that is too soon: a
//! leader that crashes could be without an entry that the peer has, see `docs/two-masters.md`.

use std::collections::BTreeMap;

use crate::watch;

/// The appends of one replica's log that wait for their flush.
pub(super) struct Unflushed(watch::Sender<Pending>);

/// Invariant: every entry that is appended and not flushed is at or after `limit`. A truncated one may hold the limit down
/// for a while; it never holds it too high.
#[derive(Default)]
struct Pending {
    tickets: u64,
    /// The first index of each.
    first: BTreeMap<Ticket, u64>,
}

/// One append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

impl Pending {
    /// All entries before it are flushed.
    fn limit(&self) -> u64 {
        self.first.values().copied().min().unwrap_or(u64::MAX)
    }
}

impl Unflushed {
    pub(super) fn new() -> Self {
        Unflushed(watch::channel(Pending::default()).0)
    }

    /// Says that entries from `first` on are about to be appended. Before they can be read.
    pub(super) fn begin(&self, first: u64) -> Ticket {
        let mut ticket = Ticket(0);
        self.0.modify(|pending| {
            ticket = Ticket(pending.tickets);
            pending.tickets += 1;
            pending.first.insert(ticket, first);
            false
        });
        ticket
    }

    /// Says that they are flushed.
    pub(super) fn end(&self, ticket: Ticket) {
        self.0.modify(|pending| pending.first.remove(&ticket).is_some());
    }

    /// All entries before it are flushed.
    pub(super) fn limit(&self) -> u64 {
        self.0.borrow().limit()
    }

    /// Waits until the entry at `index` is flushed; for as long as that takes.
    pub(super) async fn flushed(&self, index: u64) {
        let mut pending = self.0.subscribe();
        // Never closed: the sender is here.
        while pending.borrow_and_update().limit() <= index && pending.changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn an_entry_counts_as_flushed_once_its_append_and_all_that_touch_it_are() {
        let unflushed = Unflushed::new();
        assert_eq!(unflushed.limit(), u64::MAX);
        let old = unflushed.begin(5);
        let new = unflushed.begin(8);
        assert!(unflushed.flushed(4).now_or_never().is_some());
        assert!(unflushed.flushed(5).now_or_never().is_none());
        unflushed.end(old);
        assert_eq!(unflushed.limit(), 8);
        // Overwritten before its flush came.
        let again = unflushed.begin(6);
        unflushed.end(new);
        assert!(unflushed.flushed(6).now_or_never().is_none());
        unflushed.end(again);
        assert!(unflushed.flushed(9).now_or_never().is_some());
    }
}
