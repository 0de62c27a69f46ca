//! The table of all sessions that a state machine protects its commands with.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;
use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};

use super::records::{KeptReply, SessionCopy, SessionRecord};
use super::session::{Begin, Session};
use super::stamp::{Refusal, Stamp};
use crate::planted::{self, Bug};
use crate::types::{ClientId, Index, LogTime};

/// How long a session lives without being used, unless the table is told otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);

/// How many expired sessions one call removes at most, so that no entry takes long to apply.
const EXPIRE_AT_ONCE: usize = 16;

/// All sessions of a group, or of a shard. Part of the replicated state: every method is deterministic.
///
/// A command goes through [`begin`](Table::begin); if that says [`Begin::Fresh`] it is carried out and its reply given
/// to [`record`](Table::record), in the same entry. A clone is O(1) and shares its structure.
///
/// Invariant: `by_use` holds exactly one entry for each session, at the time of its last use.
#[derive(Clone, Debug)]
pub struct Table {
    ttl: Duration,
    sessions: OrdMap<ClientId, Session>,
    by_use: OrdSet<(LogTime, ClientId)>,
}

impl Default for Table {
    fn default() -> Self {
        Table::new(DEFAULT_TTL)
    }
}

impl Table {
    /// An empty table whose sessions expire after `ttl` of log time without use. All replicas need the same `ttl`.
    pub fn new(ttl: Duration) -> Self {
        Table { ttl, sessions: OrdMap::new(), by_use: OrdSet::new() }
    }

    /// How many sessions there are, expired ones that are not yet removed included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether `client` has a session, be it one that has expired and is not yet removed.
    pub fn contains(&self, client: &ClientId) -> bool {
        self.sessions.contains_key(client)
    }

    /// Opens a session for `client`, or touches the one it has: opening twice is the same as once. Says whether the session
    /// is new, and so knows nothing of any earlier command.
    pub fn open(&mut self, client: &ClientId, now: LogTime, index: Index) -> bool {
        self.remove_if_expired(client, now);
        let is_new = self.touch(client, now).is_none();
        if is_new {
            self.insert(client.clone(), Session::new(index, now));
        }
        is_new
    }

    /// Says what to do with the command that bears `stamp` and has this `digest` (see [`super::digest`]).
    ///
    /// The session counts as used, and the replies that the stamp acknowledges are forgotten.
    pub fn begin(&mut self, stamp: &Stamp, digest: u64, now: LogTime) -> Begin {
        self.remove_if_expired(&stamp.client, now);
        let Some(session) = self.touch(&stamp.client, now) else {
            let served = planted::is(Bug::UnknownSessionServed);
            return if served { Begin::Fresh } else { Begin::Refused(Refusal::Expired) };
        };
        // A command cannot acknowledge itself: its own reply is not yet known to anybody.
        let acked = stamp.seq.checked_sub(1).and_then(|before| stamp.acked.map(|acked| acked.min(before)));
        session.acknowledge(acked);
        session.judge(stamp.seq, digest)
    }

    /// Keeps the reply of a command that [`Table::begin`] called fresh in this same entry.
    pub fn record(&mut self, stamp: &Stamp, digest: u64, reply: Bytes, index: Index) {
        if let Some(session) = self.sessions.get_mut(&stamp.client) {
            session.keep(KeptReply { seq: stamp.seq, digest, at: index, reply });
        }
    }

    /// Removes sessions that were not used for longer than the table's `ttl`, the least recently used first, a bounded
    /// number at a call, and says whose. To be called at each apply; costs next to nothing when nothing expires.
    ///
    /// What it has not come to yet is refused by [`Table::begin`] all the same.
    pub fn expire(&mut self, now: LogTime) -> Vec<ClientId> {
        let mut removed = Vec::new();
        while removed.len() < EXPIRE_AT_ONCE
            && let Some((last_used, client)) = self.by_use.get_min().cloned()
            && now.since(last_used) > self.ttl
        {
            self.remove(&client);
            removed.push(client);
        }
        removed
    }

    /// Removes the session of `client`; says whether there was one.
    pub fn remove(&mut self, client: &ClientId) -> bool {
        let Some(session) = self.sessions.remove(client) else { return false };
        let indexed = self.by_use.remove(&(session.last_used, client.clone()));
        assert!(indexed.is_some(), "the session of {client} was not found by its last use");
        true
    }

    /// The first client after `after`, in the order of names.
    pub fn next_client(&self, after: Option<&ClientId>) -> Option<&ClientId> {
        match after {
            None => self.sessions.get_min().map(|(client, _)| client),
            Some(after) => {
                let rest = self.sessions.range::<_, ClientId>((Bound::Excluded(after), Bound::Unbounded));
                rest.map(|(client, _)| client).next()
            }
        }
    }

    /// A copy of the session of `client` for another group: the whole, or only what changed in it after the entry `since`
    /// when the receiver already follows it from there. `None` when there is no such session.
    pub fn copy(&self, client: &ClientId, since: Option<Index>, now: LogTime) -> Option<SessionCopy> {
        let session = self.sessions.get(client)?;
        // A session opened later than `since` is another one than the receiver may hold under this name.
        let since = since.filter(|since| session.opened <= *since);
        let replies = session.replies.values().filter(|kept| since.is_none_or(|since| kept.at > since));
        let replies = replies.filter(|_| !planted::is(Bug::RepliesNotMoved));
        Some(SessionCopy {
            client: client.clone(),
            whole: since.is_none(),
            idle_ms: now.0.saturating_sub(session.last_used.0),
            highest: session.highest.filter(|_| !planted::is(Bug::RepliesNotMoved)),
            acked: session.acked,
            replies: replies.cloned().collect(),
        })
    }

    /// Takes a copy in, at the entry `index` of this log. Taking the same copy twice is the same as once.
    pub fn merge(&mut self, copy: SessionCopy, now: LogTime, index: Index) {
        let held = self.sessions.get(&copy.client).cloned();
        self.remove(&copy.client);
        let mut session = match held {
            Some(held) if !copy.whole => held,
            _ => Session::new(index, now),
        };
        session.last_used = LogTime(now.0.saturating_sub(copy.idle_ms));
        session.highest = session.highest.max(copy.highest);
        session.acknowledge(copy.acked);
        for kept in copy.replies {
            // The other log's index means nothing here.
            session.keep(KeptReply { at: index, ..kept });
        }
        self.insert(copy.client, session);
    }

    /// The sessions as records of a snapshot, by rising name. The iterator owns what it reads and sees no later change.
    pub fn records(&self) -> impl Iterator<Item = SessionRecord> + Send + use<> {
        let kept = if planted::is(Bug::SessionsNotInSnapshot) { OrdMap::new() } else { self.sessions.clone() };
        kept.into_iter().map(|(client, session)| session.record(client))
    }

    /// What has to be put (a record) or removed (none) to make this table of `earlier`. Costs what has changed, not what
    /// is there, as long as one comes from a clone of the other.
    pub fn changes_since(&self, earlier: &Table) -> impl Iterator<Item = (ClientId, Option<SessionRecord>)> {
        earlier.sessions.diff(&self.sessions).map(|change| match change {
            DiffItem::Add(client, session) | DiffItem::Update { new: (client, session), .. } => {
                (client.clone(), Some(session.clone().record(client.clone())))
            }
            DiffItem::Remove(client, _) => (client.clone(), None),
        })
    }

    /// Puts back what [`Table::records`] gave.
    pub fn restore(&mut self, record: SessionRecord) {
        self.remove(&record.client);
        let session = Session {
            opened: record.opened,
            last_used: record.last_used,
            highest: record.highest,
            acked: record.acked,
            replies: record.replies.into_iter().map(|kept| (kept.seq, kept)).collect(),
        };
        self.insert(record.client, session);
    }

    fn insert(&mut self, client: ClientId, session: Session) {
        self.by_use.insert((session.last_used, client.clone()));
        self.sessions.insert(client, session);
    }

    fn remove_if_expired(&mut self, client: &ClientId, now: LogTime) {
        if self.sessions.get(client).is_some_and(|session| now.since(session.last_used) > self.ttl) {
            self.remove(client);
        }
    }

    fn touch(&mut self, client: &ClientId, now: LogTime) -> Option<&mut Session> {
        let session = self.sessions.get_mut(client)?;
        // A copy from another group may be younger than this log's time; time does not go back here either.
        let last_used = session.last_used.max(now);
        if session.last_used != last_used {
            self.by_use.remove(&(session.last_used, client.clone()));
            self.by_use.insert((last_used, client.clone()));
            session.last_used = last_used;
        }
        Some(session)
    }
}

#[cfg(test)]
mod tests;
