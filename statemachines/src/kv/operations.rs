//! Operations on keys: ownership first, then the session, then the operation itself.
//!
//! A refusal for ownership leaves no trace: the client takes the same number to the group that serves the shard.

use std::sync::Arc;

use quorate::machine::{decode, encode};
use quorate::sessions::{Begin, Refusal, Stamp, digest};
use quorate::types::ClientId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Batch, BatchOutcome};
use super::command::{KvOp, KvReply};
use super::contents::Contents;
use super::marks::{Item, Marks};
use super::state::State;
use super::transfer::Applied;
use crate::names::ShardId;

/// The marks of a shard that is being copied; nothing to do for any other.
struct Changes<'a>(Option<&'a mut Marks>, Applied);

impl Changes<'_> {
    fn mark(&mut self, item: impl FnOnce() -> Item) {
        if let Some(marks) = &mut self.0 {
            marks.mark(item(), self.1.index);
        }
    }

    fn mark_session(&mut self, client: &ClientId) {
        self.mark(|| Item::Session(client.clone()));
    }
}

impl State {
    pub(super) fn open_session(&mut self, shard: ShardId, client: &ClientId) -> KvReply {
        let at = self.applied;
        let (contents, marks) = match self.served_mut(shard) {
            Ok(served) => served,
            Err(refusal) => return KvReply::NotServed(refusal),
        };
        let mut changes = Changes(marks, at);
        contents.sessions.expire(at.time).iter().for_each(|gone| changes.mark_session(gone));
        let fresh = contents.sessions.open(client, at.time, at.index);
        changes.mark_session(client);
        KvReply::SessionOpened { fresh }
    }

    pub(super) fn operate(&mut self, shard: ShardId, session: Option<Stamp>, op: KvOp) -> KvReply {
        let statement = session.as_ref().map_or(0, |_| digest(&encode(&op)));
        let reply = |outcome, replayed| KvReply::Done { outcome, replayed };
        self.once(shard, session, statement, reply, |contents, changes| {
            let key = op.key().clone();
            let (outcome, changed) = contents.apply(op);
            if changed {
                changes.mark(|| Item::Key(key));
            }
            (outcome, true)
        })
    }

    pub(super) fn operate_batch(&mut self, shard: ShardId, session: Option<Stamp>, batch: &Batch) -> KvReply {
        let reply = |outcome, replayed| KvReply::Batch { outcome, replayed };
        self.once(shard, session, batch.statement, reply, |contents, changes| {
            let outcome = contents.apply_batch(batch);
            if matches!(outcome, BatchOutcome::Applied { .. }) {
                batch.changes.iter().for_each(|change| changes.mark(|| Item::Key(Arc::clone(&change.key))));
            }
            let kept = outcome.is_final();
            (outcome, kept)
        })
    }

    /// Carries an operation out if the shard is served here and the session has not seen its number. `carry_out` also
    /// says whether what came of it is to be kept as the number's reply; if not, the number may be used again.
    fn once<T: Serialize + DeserializeOwned>(
        &mut self,
        shard: ShardId,
        session: Option<Stamp>,
        digest: u64,
        reply: impl FnOnce(T, bool) -> KvReply,
        carry_out: impl FnOnce(&mut Contents, &mut Changes<'_>) -> (T, bool),
    ) -> KvReply {
        let at = self.applied;
        let (contents, marks) = match self.served_mut(shard) {
            Ok(served) => served,
            Err(refusal) => return KvReply::NotServed(refusal),
        };
        let mut changes = Changes(marks, at);
        contents.sessions.expire(at.time).iter().for_each(|gone| changes.mark_session(gone));

        if let Some(stamp) = &session {
            // Whatever it says, an existing session was touched by it, or removed because it has expired.
            if contents.sessions.contains(&stamp.client) {
                changes.mark_session(&stamp.client);
            }
            match contents.sessions.begin(stamp, digest, at.time) {
                Begin::Fresh => {}
                Begin::Refused(refusal) => return KvReply::Session(refusal),
                Begin::Replay(kept) => match decode::<T>(&kept) {
                    Ok(outcome) => return reply(outcome, true),
                    // Recorded by a version that this one does not know: it was carried out, and how it went cannot be told.
                    Err(_) => return KvReply::Session(Refusal::BelowWindow),
                },
            }
        }
        let (outcome, kept) = carry_out(contents, &mut changes);
        if let (Some(stamp), true) = (session, kept) {
            contents.sessions.record(&stamp, digest, encode(&outcome), at.index);
        }
        reply(outcome, false)
    }
}
