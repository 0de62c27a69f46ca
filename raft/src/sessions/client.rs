//! The client's side of a session: it hands out numbers and knows which replies nobody waits for any more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::session::WINDOW;
use super::stamp::Stamp;
use crate::types::ClientId;

/// One client's numbering. Clones share it; every command takes a [`Call`] and keeps it until no retry will follow.
///
/// It opens nothing: the session itself is opened by a command of the state machine, under [`ClientSession::client`].
#[derive(Clone, Debug)]
pub struct ClientSession {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: ClientId,
    numbers: Mutex<Numbers>,
}

/// Invariant: every number up to `last` was handed out, and is done unless it is `open`.
#[derive(Debug, Default)]
struct Numbers {
    last: u64,
    open: BTreeSet<u64>,
}

impl Numbers {
    fn done_up_to(&self) -> u64 {
        self.open.first().map_or(self.last, |oldest| oldest - 1)
    }
}

impl ClientSession {
    /// The numbering of `client`, starting at 1. No other numbering may use this name, in any process.
    pub fn new(client: ClientId) -> Self {
        ClientSession { shared: Arc::new(Shared { client, numbers: Mutex::default() }) }
    }

    /// Under whose name the session is to be opened.
    pub fn client(&self) -> &ClientId {
        &self.shared.client
    }

    /// A number for a new command; `None` while the oldest open call would fall out of the servers' window by it.
    pub fn call(&self) -> Option<Call> {
        let mut numbers = self.shared.numbers();
        let acked = numbers.done_up_to();
        if numbers.last - acked >= WINDOW {
            return None;
        }
        numbers.last += 1;
        let seq = numbers.last;
        numbers.open.insert(seq);
        let stamp = Stamp { client: self.shared.client.clone(), seq, acked: (acked > 0).then_some(acked) };
        Some(Call { shared: Arc::clone(&self.shared), stamp })
    }
}

impl Shared {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command under way: all its attempts carry the one stamp. Dropping it says that no further attempt will be made and
/// that its reply may be forgotten; an attempt that is still in the network by then is refused, or has taken effect once.
#[derive(Debug)]
pub struct Call {
    shared: Arc<Shared>,
    stamp: Stamp,
}

impl Call {
    /// What every attempt carries.
    pub fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.numbers().open.remove(&self.stamp.seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> ClientSession {
        ClientSession::new(ClientId::new("c"))
    }

    #[test]
    fn a_number_is_acknowledged_once_it_and_all_before_it_are_done() {
        let session = session();
        let (first, second) = (session.call().unwrap(), session.call().unwrap());
        assert_eq!((first.stamp().seq, second.stamp().seq), (1, 2));
        drop(second);
        assert_eq!(session.call().unwrap().stamp().acked, None, "the first is still open");
        drop(first);
        assert_eq!(session.call().unwrap().stamp().acked, Some(3));
    }

    #[test]
    fn an_open_call_never_falls_out_of_the_window() {
        let session = session();
        let stuck = session.call().unwrap();
        let others = std::iter::from_fn(|| session.call()).count() as u64;
        assert_eq!(others, WINDOW - 1);
        let highest = 1 + others;
        assert!(highest - stuck.stamp().seq < WINDOW);
        drop(stuck);
        assert!(session.call().is_some());
    }

    #[test]
    fn threads_share_one_numbering() {
        let session = session();
        let seqs = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..100).map(|_| session.call().unwrap().stamp().seq).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<BTreeSet<_>>()
        });
        assert_eq!(seqs, (1..=400).collect());
    }
}
