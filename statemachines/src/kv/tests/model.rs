//! What the store promises its clients, said without groups, moves, or logs.

use std::collections::BTreeMap;

use quorate::sessions::{Refusal, Stamp};
use quorate::types::ClientId;
use serde_json::Value;

use super::*;

/// One store for all shards, and a memory of every command that took effect.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) keys: BTreeMap<(ShardId, String), Value>,
    /// The open sessions, and when they were last used.
    opened: BTreeMap<(ShardId, ClientId), u64>,
    /// What every group's clock has advanced by.
    pub(super) now: u64,
    session_ttl_ms: u64,
    acked: BTreeMap<(ShardId, ClientId), u64>,
    pub(super) done: BTreeMap<(ShardId, ClientId, u64), (KvOp, Outcome)>,
}

impl Model {
    pub(super) fn new(session_ttl_ms: u64) -> Self {
        Model { session_ttl_ms, ..Default::default() }
    }

    pub(super) fn open(&mut self, shard: ShardId, client: &ClientId, fresh: bool) {
        let place = (shard, client.clone());
        if fresh {
            self.forget(&place);
        }
        let known = self.opened.insert(place, self.now).is_some();
        assert_eq!(fresh, !known, "the session of {client} in shard {shard} at {}", self.now);
    }

    /// A session may live longer than its time, since a copy of it is at most as old as it seems, but never shorter.
    fn forget(&mut self, place: &(ShardId, ClientId)) {
        let Some(last_used) = self.opened.remove(place) else { return };
        assert!(self.now - last_used > self.session_ttl_ms, "the session {place:?} expired early");
        self.acked.remove(place);
        self.done.retain(|(shard, client, _), _| (shard, client) != (&place.0, &place.1));
    }

    /// What an operation must be answered by a group that serves the shard, and that answered `reply`.
    pub(super) fn operate(&mut self, shard: ShardId, session: Option<&Stamp>, op: &KvOp, reply: &KvReply) -> KvReply {
        let Some(stamp) = session else {
            return KvReply::Done { outcome: self.apply(shard, op), replayed: false };
        };
        let place = (shard, stamp.client.clone());
        if *reply == KvReply::Session(Refusal::Expired) {
            self.forget(&place);
        }
        match self.opened.get_mut(&place) {
            None => return KvReply::Session(Refusal::Expired),
            Some(last_used) => *last_used = self.now,
        }
        let acked = self.acked.entry(place).or_default();
        *acked = (*acked).max(stamp.acked.unwrap_or(0).min(stamp.seq.saturating_sub(1)));
        if stamp.seq <= *acked {
            return KvReply::Session(Refusal::BelowWindow);
        }
        let id = (shard, stamp.client.clone(), stamp.seq);
        match self.done.get(&id) {
            Some((first, outcome)) if first == op => KvReply::Done { outcome: *outcome, replayed: true },
            Some(_) => KvReply::Session(Refusal::Reused),
            None => {
                let outcome = self.apply(shard, op);
                self.done.insert(id, (op.clone(), outcome));
                KvReply::Done { outcome, replayed: false }
            }
        }
    }

    fn apply(&mut self, shard: ShardId, op: &KvOp) -> Outcome {
        let place = (shard, op.key().to_string());
        let held = self.keys.get(&place).cloned();
        match (op, held) {
            (KvOp::Put { value, .. }, _) => {
                self.keys.insert(place, value.value().unwrap());
                Outcome::Put
            }
            (KvOp::Append { value, .. }, held) => {
                let joined = match (held, value.value().unwrap()) {
                    (None, more) => more,
                    (Some(Value::String(a)), Value::String(b)) => Value::String(a + &b),
                    (Some(Value::Array(mut all)), more) => {
                        all.push(more);
                        Value::Array(all)
                    }
                    _ => return Outcome::NotAppendable,
                };
                self.keys.insert(place, joined);
                Outcome::Appended
            }
            (KvOp::Delete { .. }, held) => {
                self.keys.remove(&place);
                Outcome::Deleted { existed: held.is_some() }
            }
            (KvOp::Cas { create_if_not_exists: false, .. }, None) => Outcome::Missing,
            (KvOp::Cas { from, .. }, Some(held)) if held != from.value().unwrap() => Outcome::Different,
            (KvOp::Cas { to, .. }, _) => {
                self.keys.insert(place, to.value().unwrap());
                Outcome::Swapped
            }
        }
    }

    /// The keys of a shard as a scan gives them.
    pub(super) fn shard(&self, shard: ShardId) -> Vec<(Arc<str>, Json)> {
        let of_shard = self.keys.iter().filter(|((of, _), _)| *of == shard);
        of_shard.map(|((_, key), value)| (Arc::from(key.as_str()), Json::from(value))).collect()
    }
}
