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
    pub(super) done: BTreeMap<(ShardId, ClientId, u64), Carried>,
}

/// What was carried out under a number, and what came of it.
#[derive(Clone, Debug)]
pub(super) enum Carried {
    Op(KvOp, Outcome),
    Batch(Batch, BatchOutcome),
}

impl Carried {
    /// The command that was carried out, under this stamp.
    pub(super) fn again(&self, shard: ShardId, stamp: Stamp) -> KvCommand {
        let session = Some(stamp);
        match self.clone() {
            Carried::Op(op, _) => KvCommand::Op { shard, session, op },
            Carried::Batch(batch, _) => KvCommand::Batch { shard, session, batch },
        }
    }
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
        let fresh = |outcome| KvReply::Done { outcome, replayed: false };
        let Some(stamp) = session else { return fresh(self.apply(shard, op)) };
        if let Some(refusal) = self.refused(shard, stamp, reply) {
            return KvReply::Session(refusal);
        }
        let id = (shard, stamp.client.clone(), stamp.seq);
        match self.done.get(&id) {
            Some(Carried::Op(first, outcome)) if first == op => KvReply::Done { outcome: *outcome, replayed: true },
            Some(_) => KvReply::Session(Refusal::Reused),
            None => {
                let outcome = self.apply(shard, op);
                self.done.insert(id, Carried::Op(op.clone(), outcome));
                fresh(outcome)
            }
        }
    }

    /// The same of a batch: its statement, not its content, is what a number stands for, and a conflict leaves it free.
    pub(super) fn batch(&mut self, shard: ShardId, session: Option<&Stamp>, batch: &Batch, reply: &KvReply) -> KvReply {
        let fresh = |outcome| KvReply::Batch { outcome, replayed: false };
        let Some(stamp) = session else { return fresh(self.apply_batch(shard, batch)) };
        if let Some(refusal) = self.refused(shard, stamp, reply) {
            return KvReply::Session(refusal);
        }
        let id = (shard, stamp.client.clone(), stamp.seq);
        match self.done.get(&id) {
            Some(Carried::Batch(first, outcome)) if first.statement == batch.statement => {
                KvReply::Batch { outcome: outcome.clone(), replayed: true }
            }
            Some(_) => KvReply::Session(Refusal::Reused),
            None => {
                let outcome = self.apply_batch(shard, batch);
                if !matches!(outcome, BatchOutcome::Conflict { .. }) {
                    self.done.insert(id, Carried::Batch(batch.clone(), outcome.clone()));
                }
                fresh(outcome)
            }
        }
    }

    /// Why the session does not let a number through, given that the group answered `reply`.
    fn refused(&mut self, shard: ShardId, stamp: &Stamp, reply: &KvReply) -> Option<Refusal> {
        let place = (shard, stamp.client.clone());
        if *reply == KvReply::Session(Refusal::Expired) {
            self.forget(&place);
        }
        match self.opened.get_mut(&place) {
            None => return Some(Refusal::Expired),
            Some(last_used) => *last_used = self.now,
        }
        let acked = self.acked.entry(place).or_default();
        *acked = (*acked).max(stamp.acked.unwrap_or(0).min(stamp.seq.saturating_sub(1)));
        (stamp.seq <= *acked).then_some(Refusal::BelowWindow)
    }

    fn apply_batch(&mut self, shard: ShardId, batch: &Batch) -> BatchOutcome {
        let text_at = |key: &Arc<str>| self.keys.get(&(shard, key.to_string())).map(Json::from);
        let checks = batch.checks.iter().map(|check| (&check.key, check.expect));
        let expected: Vec<_> = checks.chain(batch.changes.iter().map(|change| (&change.key, change.expect))).collect();
        let stale = |(key, expect): &&(&Arc<str>, Expect)| match expect {
            Expect::Seen(digest) => text_at(key).map(|value| value.digest()) != Some(*digest),
            _ => false,
        };
        if let Some((key, _)) = expected.iter().find(stale) {
            return BatchOutcome::Conflict { key: Arc::clone(key) };
        }
        let there = |(key, expect): &&(&Arc<str>, Expect)| *expect == Expect::Absent && text_at(key).is_some();
        if let Some((key, _)) = expected.iter().find(there) {
            return BatchOutcome::Exists { key: Arc::clone(key) };
        }
        for change in &batch.changes {
            let place = (shard, change.key.to_string());
            match &change.value {
                Some(value) => _ = self.keys.insert(place, value.value().unwrap()),
                None => _ = self.keys.remove(&place),
            }
        }
        BatchOutcome::Applied { rows: batch.rows }
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
