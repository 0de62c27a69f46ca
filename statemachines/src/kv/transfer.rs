//! What travels from the source of a shard to its destination: chunks of it, and deltas that follow its changes.
//!
//! Promises: each says exactly where it fits, so that one which comes twice, late, or out of order is recognised; each
//! is bounded in size; damage is noticed. All chunks of a copy, then deltas from the smallest index of any of those
//! chunks on, give the shard as it was at the last delta's end.

use std::sync::Arc;

use quorate::machine::encode;
use quorate::planted::{self, Bug};
use quorate::sessions::{SessionCopy, digest};
use quorate::types::{ClientId, Index, LogTime};
use serde::{Deserialize, Serialize};

use super::contents::{Contents, size};
use super::lost::Lost;
use super::marks::Item;
use super::value::Json;
use crate::names::ConfigNumber;

/// A piece of a shard, as one replica of the source had it after applying the entry `index`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The configuration in which the source lost the shard.
    pub lost_at: ConfigNumber,
    /// What the replica had applied.
    pub index: Index,
    /// The entry that froze the shard, if the replica has applied it.
    pub frozen_at: Option<Index>,
    /// The item before the piece: it fits a copy that ends there.
    pub after: Option<Item>,
    /// The last item of the piece: where the copy ends with it.
    pub through: Option<Item>,
    /// Sessions, whole.
    pub sessions: Vec<SessionCopy>,
    /// Keys and their values.
    pub keys: Vec<(Arc<str>, Json)>,
    /// Whether nothing follows.
    pub done: bool,
    /// Over all the rest.
    pub checksum: u64,
}

/// How far a copy has followed its source.
///
/// A key is sent whole whenever it changed, so for keys one number would do. Of a session only the new replies are sent,
/// and then it matters that a delta which is cut short leaves out a session that changed on both sides of the cut. Such a
/// session is in a later delta, and has to bring everything since `sessions`, not only since `index`.
///
/// Invariant: a reply recorded at or before `index` that the copy lacks was recorded after `sessions`, and its session
/// changed again after `index`, at or before `seen`. So a delta that is not cut, from a replica that has applied `seen`,
/// completes all sessions; and nothing is lacking once `index` has come to the freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The source's entry up to which the changes were sent.
    pub index: Index,
    /// The source's entry up to which no session lacks a reply.
    pub sessions: Index,
    /// The highest entry that a replica had applied which sent a delta cut short.
    pub seen: Index,
}

impl Reached {
    pub(super) fn start(index: Index) -> Self {
        Reached { index, sessions: index, seen: index }
    }
}

/// What changed in a shard between two entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// The configuration in which the source lost the shard.
    pub lost_at: ConfigNumber,
    /// It fits a copy that has come so far.
    pub from: Reached,
    /// So far the copy comes by it.
    pub to: Reached,
    /// The entry that froze the shard, if the replica has applied it. A copy that reaches it is whole.
    pub frozen_at: Option<Index>,
    /// What is new in the sessions that changed.
    pub sessions: Vec<SessionCopy>,
    /// The sessions that are gone.
    pub sessions_gone: Vec<ClientId>,
    /// The keys that changed; `None` for one that is gone.
    pub keys: Vec<(Arc<str>, Option<Json>)>,
    /// Over all the rest.
    pub checksum: u64,
}

/// A replica's place in its log, for what it gives away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) index: Index,
    pub(super) time: LogTime,
}

impl Chunk {
    /// The items of `lost` after `after`, at least one if there is any, else about `max_bytes`.
    pub(super) fn take(lost: &Lost, after: Option<Item>, max_bytes: u64, at: Applied) -> Chunk {
        let mut chunk = Chunk {
            lost_at: lost.lost_at,
            index: at.index,
            frozen_at: lost.frozen_at,
            through: after.clone(),
            after,
            sessions: Vec::new(),
            keys: Vec::new(),
            done: false,
            checksum: 0,
        };
        chunk.done = chunk.fill(&lost.contents, max_bytes, at.time);
        chunk.checksum = chunk.sum();
        chunk
    }

    /// Says whether it came to the end.
    fn fill(&mut self, contents: &Contents, max_bytes: u64, now: LogTime) -> bool {
        let mut room = Room::new(max_bytes);
        while let Some(client) = self.next_session(contents) {
            let Some(session) = contents.sessions.copy(&client, None, now) else { break };
            if !room.take(session.size()) {
                return false;
            }
            self.sessions.push(session);
            self.through = Some(Item::Session(client));
        }
        let after = match &self.through {
            Some(Item::Key(key)) => Some(Arc::clone(key)),
            _ => None,
        };
        for (key, value) in contents.keys_after(after.as_deref()) {
            if !room.take(size(&key, &value)) {
                return false;
            }
            self.through = Some(Item::Key(Arc::clone(&key)));
            self.keys.push((key, value));
        }
        true
    }

    fn next_session(&self, contents: &Contents) -> Option<ClientId> {
        match &self.through {
            _ if planted::is(Bug::SessionsNotMoved) => None,
            None => contents.sessions.next_client(None).cloned(),
            Some(Item::Session(last)) => contents.sessions.next_client(Some(last)).cloned(),
            Some(Item::Key(_)) => None,
        }
    }

    fn sum(&self) -> u64 {
        let place = (self.lost_at, self.index, self.frozen_at, &self.after, &self.through, self.done);
        digest(&encode(&(place, &self.sessions, &self.keys)))
    }

    /// Whether it is as it was made.
    pub fn is_intact(&self) -> bool {
        self.checksum == self.sum()
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let sessions: usize = self.sessions.iter().map(SessionCopy::size).sum();
        sessions + self.keys.iter().map(|(key, value)| size(key, value)).sum::<usize>()
    }
}

impl Delta {
    /// What changed in `lost` after `from`: all of it, or as many entries' changes as fit, at least one entry's.
    pub(super) fn take(lost: &Lost, from: Reached, max_bytes: u64, at: Applied) -> Delta {
        let mut delta = Delta {
            lost_at: lost.lost_at,
            from,
            to: from,
            frozen_at: lost.frozen_at,
            sessions: Vec::new(),
            sessions_gone: Vec::new(),
            keys: Vec::new(),
            checksum: 0,
        };
        if !delta.fill(lost, max_bytes, at.time) {
            delta.to.seen = from.seen.max(at.index);
        } else {
            delta.to.index = at.index;
            if at.index >= from.seen {
                delta.to.sessions = at.index;
            }
        }
        delta.checksum = delta.sum();
        delta
    }

    /// Says whether it came to the end; otherwise `to` is the last entry whose changes are all in.
    fn fill(&mut self, lost: &Lost, max_bytes: u64, now: LogTime) -> bool {
        let mut room = Room::new(max_bytes);
        for (index, item) in lost.marks.after(self.from.index) {
            // An entry's changes go together: `to` can only say that all of them are in.
            if index != self.to.index && room.is_full() {
                return false;
            }
            self.to.index = index;
            room.force(self.add(&lost.contents, item, now));
        }
        true
    }

    fn add(&mut self, contents: &Contents, item: &Item, now: LogTime) -> usize {
        match item {
            Item::Session(_) if planted::is(Bug::SessionsNotMoved) => 0,
            Item::Session(client) => match contents.sessions.copy(client, Some(self.from.sessions), now) {
                Some(session) => {
                    let size = session.size();
                    self.sessions.push(session);
                    size
                }
                None => {
                    self.sessions_gone.push(client.clone());
                    client.0.len()
                }
            },
            Item::Key(key) => {
                let value = contents.get(key);
                let size = value.as_ref().map_or(key.len(), |value| size(key, value));
                self.keys.push((Arc::clone(key), value));
                size
            }
        }
    }

    fn sum(&self) -> u64 {
        let place = (self.lost_at, self.from, self.to, self.frozen_at);
        digest(&encode(&(place, &self.sessions, &self.sessions_gone, &self.keys)))
    }

    /// Whether it is as it was made.
    pub fn is_intact(&self) -> bool {
        self.checksum == self.sum() && self.from.index <= self.to.index
    }

    /// Whether a copy that takes it in is whole: little is left to do but to install it.
    pub fn is_last(&self) -> bool {
        self.frozen_at.is_some_and(|frozen_at| self.to.index >= frozen_at)
    }

    /// About how many bytes it holds.
    pub fn size(&self) -> usize {
        let sessions: usize = self.sessions.iter().map(SessionCopy::size).sum();
        let gone: usize = self.sessions_gone.iter().map(|client| client.0.len()).sum();
        let keys = self.keys.iter().map(|(key, value)| value.as_ref().map_or(key.len(), |value| size(key, value)));
        sessions + gone + keys.sum::<usize>()
    }
}

/// How much more fits; the first always does.
struct Room {
    left: Option<u64>,
    max: u64,
}

impl Room {
    fn new(max: u64) -> Self {
        Room { left: None, max }
    }

    fn take(&mut self, size: usize) -> bool {
        let fits = self.left.is_none_or(|left| size as u64 <= left);
        if fits {
            self.force(size);
        }
        fits
    }

    fn force(&mut self, size: usize) {
        self.left = Some(self.left.unwrap_or(self.max).saturating_sub(size as u64));
    }

    fn is_full(&self) -> bool {
        self.left == Some(0)
    }
}
