//! The sessions that a routing client uses: its own, and those that callers name.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::env::Env;
use quorate::sessions::{Call, ClientSession, Stamp};
use quorate::types::ClientId;
use quorate_statemachines::ShardId;

/// So many clients are remembered; the others' sessions are opened again, which changes nothing if they are open.
const CLIENTS_MAX: usize = 65_536;

/// Numbers for the operations of callers that name no session.
pub(super) struct OwnSessions {
    env: Arc<dyn Env>,
    sessions: Mutex<Vec<ClientSession>>,
}

impl OwnSessions {
    pub(super) fn new(env: Arc<dyn Env>) -> Self {
        OwnSessions { env, sessions: Mutex::default() }
    }

    /// A number that nobody else has, in a session whose window has room for it.
    pub(super) fn call(&self) -> Call {
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
    pub(super) fn retire(&self, client: &ClientId) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|session| session.client() != client);
    }
}

/// What is known of the sessions that were opened through one client.
#[derive(Default)]
pub(super) struct OpenedSessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    clients: BTreeMap<ClientId, Seen>,
    oldest_first: VecDeque<ClientId>,
}

#[derive(Default)]
struct Seen {
    shards: std::collections::BTreeSet<ShardId>,
    highest: u64,
}

/// Whether a command may be the retry of one that was carried out before its session expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Its number was never seen here.
    Fresh,
    /// Its number, or a higher one, was seen here.
    Seen,
}

impl OpenedSessions {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a command, and says whether it may be a retry.
    pub(super) fn note(&self, stamp: &Stamp) -> Opened {
        let mut known = self.known();
        if !known.clients.contains_key(&stamp.client) {
            known.oldest_first.push_back(stamp.client.clone());
            if known.oldest_first.len() > CLIENTS_MAX
                && let Some(oldest) = known.oldest_first.pop_front()
            {
                known.clients.remove(&oldest);
            }
        }
        let seen = known.clients.entry(stamp.client.clone()).or_default();
        if stamp.seq <= seen.highest {
            return Opened::Seen;
        }
        seen.highest = stamp.seq;
        Opened::Fresh
    }

    pub(super) fn is_open(&self, client: &ClientId, shard: ShardId) -> bool {
        self.known().clients.get(client).is_some_and(|seen| seen.shards.contains(&shard))
    }

    pub(super) fn opened(&self, client: &ClientId, shard: ShardId) {
        if let Some(seen) = self.known().clients.get_mut(client) {
            seen.shards.insert(shard);
        }
    }

    pub(super) fn expired(&self, client: &ClientId, shard: ShardId) {
        if let Some(seen) = self.known().clients.get_mut(client) {
            seen.shards.remove(&shard);
        }
    }
}
