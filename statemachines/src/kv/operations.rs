//! Operations on keys: ownership first, then the session, then the operation itself.
//!
//! A refusal for ownership leaves no trace: the client takes the same number to the group that serves the shard.

use quorate::machine::{decode, encode};
use quorate::sessions::{Begin, Refusal, Stamp, digest};
use quorate::types::ClientId;

use super::command::{KvOp, KvReply, Outcome};
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
        let at = self.applied;
        let (contents, marks) = match self.served_mut(shard) {
            Ok(served) => served,
            Err(refusal) => return KvReply::NotServed(refusal),
        };
        let mut changes = Changes(marks, at);
        contents.sessions.expire(at.time).iter().for_each(|gone| changes.mark_session(gone));

        let mut begun = None;
        if let Some(stamp) = session {
            let digest = digest(&encode(&op));
            // Whatever it says, an existing session was touched by it, or removed because it has expired.
            if contents.sessions.contains(&stamp.client) {
                changes.mark_session(&stamp.client);
            }
            match contents.sessions.begin(&stamp, digest, at.time) {
                Begin::Fresh => begun = Some((stamp, digest)),
                Begin::Refused(refusal) => return KvReply::Session(refusal),
                Begin::Replay(reply) => return replay(&reply),
            }
        }

        let key = op.key().clone();
        let (outcome, changed) = contents.apply(op);
        if changed {
            changes.mark(|| Item::Key(key));
        }
        if let Some((stamp, digest)) = begun {
            contents.sessions.record(&stamp, digest, encode(&outcome), at.index);
        }
        KvReply::Done { outcome, replayed: false }
    }
}

fn replay(reply: &[u8]) -> KvReply {
    match decode::<Outcome>(reply) {
        Ok(outcome) => KvReply::Done { outcome, replayed: true },
        // Recorded by a version that this one does not know: it was carried out, and how it went cannot be told.
        Err(_) => KvReply::Session(Refusal::BelowWindow),
    }
}
