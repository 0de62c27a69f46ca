//! The sessions that a routing client uses: its own, and those that callers name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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
    clients: BTreeMap<ClientId, Seen<P>>,
    oldest_first: VecDeque<ClientId>,
}

struct Seen<P> {
    places: BTreeSet<P>,
    highest: Option<u64>,
}

/// Whether a command may be the retry of one that was carried out before its session expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Its number was never seen here.
    Fresh,
    /// Its number, or a higher one, was seen here.
    Seen,
}

impl<P> Default for OpenedSessions<P> {
    fn default() -> Self {
        OpenedSessions(Mutex::new(Known { clients: BTreeMap::new(), oldest_first: VecDeque::new() }))
    }
}

impl<P: Ord> OpenedSessions<P> {
    fn known(&self) -> MutexGuard<'_, Known<P>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a command, and says whether it may be a retry.
    pub(crate) fn note(&self, stamp: &Stamp) -> Opened {
        let mut known = self.known();
        if !known.clients.contains_key(&stamp.client) {
            known.oldest_first.push_back(stamp.client.clone());
            if known.oldest_first.len() > CLIENTS_MAX
                && let Some(oldest) = known.oldest_first.pop_front()
            {
                known.clients.remove(&oldest);
            }
        }
        let unseen = || Seen { places: BTreeSet::new(), highest: None };
        let seen = known.clients.entry(stamp.client.clone()).or_insert_with(unseen);
        if Some(stamp.seq) <= seen.highest {
            return Opened::Seen;
        }
        seen.highest = Some(stamp.seq);
        Opened::Fresh
    }

    pub(crate) fn is_open(&self, client: &ClientId, place: &P) -> bool {
        self.known().clients.get(client).is_some_and(|seen| seen.places.contains(place))
    }

    pub(crate) fn opened(&self, client: &ClientId, place: P) {
        if let Some(seen) = self.known().clients.get_mut(client) {
            seen.places.insert(place);
        }
    }

    pub(crate) fn expired(&self, client: &ClientId, place: &P) {
        if let Some(seen) = self.known().clients.get_mut(client) {
            seen.places.remove(place);
        }
    }
}
