//! What is left of data that was given up: freed a little at a time, since to drop a large shard at once would hold up
//! every other entry of the group.

use super::contents::Contents;
use super::marks::Marks;

/// What dropping a session costs, in keys: it may hold a thousand replies.
const SESSION_WEIGHT: u64 = 32;

/// Data that nobody can ask for any more.
///
/// Only the counts are state. The data itself is not in a snapshot: a replica that was restored has the counts and
/// nothing to free, and counts down like the others. So does one with keys on a disk, which are swept there as soon as
/// what is persisted refers to them no more.
#[derive(Clone, Debug)]
pub(super) struct Remains {
    /// Keys and marks not yet freed.
    pub(super) keys: u64,
    /// Sessions not yet freed.
    pub(super) sessions: u64,
    /// The bytes of the keys when it was given up.
    pub(super) bytes: u64,
    data: Option<(Contents, Marks)>,
}

impl Remains {
    pub(super) fn new(contents: Contents, marks: Marks) -> Self {
        Remains {
            keys: (contents.len() + marks.len()) as u64,
            sessions: contents.sessions.len() as u64,
            bytes: contents.bytes(),
            data: Some((contents.without_disk(), marks)),
        }
    }

    /// Those of another replica, whose data is not here.
    pub(super) fn counted(keys: u64, sessions: u64, bytes: u64) -> Self {
        Remains { keys, sessions, bytes, data: None }
    }

    pub(super) fn left(&self) -> u64 {
        self.keys + self.sessions
    }

    /// Frees about `max_keys` keys' worth, and always something.
    pub(super) fn sweep(&mut self, max_keys: u64) {
        let keys = self.keys.min(max_keys.max(1));
        let rest = (max_keys.saturating_sub(keys) / SESSION_WEIGHT).max(u64::from(keys == 0));
        let sessions = self.sessions.min(rest);
        self.keys -= keys;
        self.sessions -= sessions;
        let Some((contents, marks)) = &mut self.data else { return };
        for _ in 0..keys {
            let _ = contents.free_first() || marks.remove_first();
        }
        for _ in 0..sessions {
            if let Some(client) = contents.sessions.next_client(None).cloned() {
                contents.sessions.remove(&client);
            }
        }
    }
}
