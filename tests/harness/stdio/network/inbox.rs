//! What is on its way to one node, by when it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::time::Instant;

use crate::stdio::message::Message;

/// Messages by the moment when they arrive; of those of the same moment, the one that was sent first.
#[derive(Default)]
pub(super) struct Inbox {
    coming: BinaryHeap<Reverse<Coming>>,
    put: u64,
}

struct Coming {
    due: Instant,
    nth: u64,
    message: Message,
}

impl Inbox {
    pub(super) fn put(&mut self, due: Instant, message: Message) {
        self.coming.push(Reverse(Coming { due, nth: self.put, message }));
        self.put += 1;
    }

    /// The next message, if it is due by now.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Message> {
        (self.next_due()? <= now).then(|| self.coming.pop().map(|Reverse(coming)| coming.message)).flatten()
    }

    /// When the next message is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.coming.peek().map(|Reverse(coming)| coming.due)
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        self.coming.drain().map(|Reverse(coming)| coming.message).collect()
    }
}

impl Coming {
    fn place(&self) -> (Instant, u64) {
        (self.due, self.nth)
    }
}

impl PartialEq for Coming {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Coming {}

impl PartialOrd for Coming {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Coming {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}
