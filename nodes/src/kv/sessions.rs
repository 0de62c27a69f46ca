//! The sessions that a routing client uses: its own, and those that callers name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::env::Env;
use quorate::sessions::{Call, ClientSession, Stamp};
use quorate::types::ClientId;

/// So many clients are remembered; the others' sessions are opened again, which changes nothing if they are open.
const CLIENTS_MAX: usize = 65_536;

/// Numbers for the operations of callers that name no session.
pub(crate) struct OwnSessions {
    env: Arc<dyn Env>,
    sessions: Mutex<Vec<ClientSession>>,
}

impl OwnSessions {
    pub(crate) fn new(env: Arc<dyn Env>) -> Self {
        OwnSessions { env, sessions: Mutex::default() }
    }

    /// A number that nobody else has, in a session whose window has room for it.
    pub(crate) fn call(&self) -> Call {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(call) = sessions.iter().find_map(ClientSession::call) {
                return call;
            }
            let name = format!("{:016x}{:016x}", self.env.random(), self.env.random());
            sessions.push(ClientSession::new(ClientId::new(name)));
        }
    }

    /// Stops using a session that a shard has expired.
    pub(crate) fn retire(&self, client: &ClientId) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.client() != client);
    }
}

/// What is known of the sessions that were opened through one client.
/// `P` is a place where a session is opened by itself: a shard, say.
pub(crate) struct OpenedSessions<P>(Mutex<Known<P>>);

struct Known<P> {
    clients: BTreeMap<ClientId, BTreeMap<P, Seen>>,
    oldest_first: VecDeque<ClientId>,
}

/// One client's session in one place.
#[derive(Clone, Copy, Default)]
struct Seen {
    open: bool,
    /// The highest number that was sent.
    highest: Option<u64>,
    /// The highest number that may have been carried out in a session that has expired.
    forgotten: Option<u64>,
}

/// How to send a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Open the session first.
    Open,
    /// With this stamp, for the first time.
    First(Stamp),
    /// With this stamp. It may have been carried out before, so a session that does not know its client tells nothing,
    /// and none is to be opened for it.
    Retry(Stamp),
    /// Not at all: it may have been carried out in a session that has expired, and the one that followed does not know.
    Forgotten,
}

impl<P> Default for OpenedSessions<P> {
    fn default() -> Self {
        OpenedSessions(Mutex::new(Known { clients: BTreeMap::new(), oldest_first: VecDeque::new() }))
    }
}

impl<P: Ord> Known<P> {
    fn seen(&mut self, client: &ClientId, place: P) -> &mut Seen {
        if !self.clients.contains_key(client) {
            self.oldest_first.push_back(client.clone());
            if self.oldest_first.len() > CLIENTS_MAX
                && let Some(oldest) = self.oldest_first.pop_front()
            {
                self.clients.remove(&oldest);
            }
        }
        self.clients.entry(client.clone()).or_default().entry(place).or_default()
    }
}

impl<P: Ord> OpenedSessions<P> {
    fn known(&self) -> MutexGuard<'_, Known<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, client: &ClientId, place: &P) -> Seen {
        self.known().clients.get(client).and_then(|places| places.get(place)).copied().unwrap_or_default()
    }

    /// Whether this number, or a higher one, was sent to this place before.
    pub(crate) fn was_sent(&self, stamp: &Stamp, place: &P) -> bool {
        Some(stamp.seq) <= self.look(&stamp.client, place).highest
    }

    /// How to send a command; `retry` if it may have been carried out. Takes note of a number that is sent.
    pub(crate) fn send(&self, stamp: &Stamp, place: P, retry: bool) -> Sending {
        let seen = self.look(&stamp.client, &place);
        if Some(stamp.seq) <= seen.forgotten {
            return Sending::Forgotten;
        }
        if !seen.open && !retry {
            return Sending::Open;
        }
        let mut known = self.known();
        let seen = known.seen(&stamp.client, place);
        seen.highest = seen.highest.max(Some(stamp.seq));
        // A new session takes no number that may have been carried out in the one before.
        let stamp = Stamp { acked: stamp.acked.max(seen.forgotten), ..stamp.clone() };
        if retry { Sending::Retry(stamp) } else { Sending::First(stamp) }
    }

    /// The session is open.
    pub(crate) fn opened(&self, client: &ClientId, place: P) {
        self.known().seen(client, place).open = true;
    }

    /// A session does not know the client of `stamp` any more. A command that was sent for the first time was certainly
    /// not carried out in it; of all others nobody knows.
    pub(crate) fn expired(&self, stamp: &Stamp, place: P, retry: bool) {
        let mut known = self.known();
        let seen = known.seen(&stamp.client, place);
        seen.open = false;
        let unknown = if retry { seen.highest } else { seen.highest.min(stamp.seq.checked_sub(1)) };
        seen.forgotten = seen.forgotten.max(unknown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(seq: u64) -> Stamp {
        Stamp { client: ClientId::new("c"), seq, acked: None }
    }

    #[test]
    fn a_number_that_was_sent_before_the_session_expired_is_never_sent_to_a_new_one() {
        let sessions = OpenedSessions::default();
        assert_eq!(sessions.send(&stamp(5), 'p', false), Sending::Open);
        sessions.opened(&stamp(5).client, 'p');
        assert_eq!(sessions.send(&stamp(5), 'p', false), Sending::First(stamp(5)));
        assert!(sessions.was_sent(&stamp(5), &'p'));
        assert!(!sessions.was_sent(&stamp(6), &'p'));

        // The next command learns that the session has expired; the new one is told of 5.
        assert_eq!(sessions.send(&stamp(6), 'p', false), Sending::First(stamp(6)));
        sessions.expired(&stamp(6), 'p', false);
        assert_eq!(sessions.send(&stamp(6), 'p', false), Sending::Open);
        sessions.opened(&stamp(6).client, 'p');
        let told = Stamp { acked: Some(5), ..stamp(6) };
        assert_eq!(sessions.send(&stamp(6), 'p', false), Sending::First(told));
        assert_eq!(sessions.send(&stamp(5), 'p', true), Sending::Forgotten);

        // A retry that finds the session expired never opens one, and the next one is told of all that was sent.
        assert!(matches!(sessions.send(&stamp(6), 'p', true), Sending::Retry(_)));
        sessions.expired(&stamp(6), 'p', true);
        assert_eq!(sessions.send(&stamp(6), 'p', true), Sending::Forgotten);
        sessions.opened(&stamp(7).client, 'p');
        let told = Stamp { acked: Some(6), ..stamp(7) };
        assert_eq!(sessions.send(&stamp(7), 'p', false), Sending::First(told));
    }

    #[test]
    fn a_number_counts_as_sent_to_its_place_once_it_was_sent_there() {
        let sessions = OpenedSessions::default();
        assert_eq!(sessions.send(&stamp(5), 'p', false), Sending::Open);
        assert!(!sessions.was_sent(&stamp(5), &'p'), "opening a session sends no number");
        sessions.opened(&stamp(5).client, 'p');
        sessions.send(&stamp(5), 'p', false);
        assert!(!sessions.was_sent(&stamp(4), &'q'));
    }
}
