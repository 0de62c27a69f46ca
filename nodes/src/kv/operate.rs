//! One attempt at an operation on one group, through its session in the shard.

use std::sync::Arc;

use quorate::WriteError;
use quorate::env::Env;
use quorate::sessions::{Call, Refusal, Stamp};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{KvCommand, KvMachine, KvOp, KvReply, NotServed, Outcome};

use super::attempts::Attempts;
use super::error::{KvError, of_harmless};
use super::reach::Reach;
use super::sessions::{Opened, OpenedSessions, OwnSessions};

/// The sessions of all operations that go through one client. `P` is a place where a session is opened by itself.
pub(super) struct Sessions<P> {
    own: OwnSessions,
    opened: OpenedSessions<P>,
}

/// An operation with its number: all its attempts carry it.
pub(super) struct Numbered {
    stamp: Stamp,
    op: KvOp,
    /// Whether it may be the retry of one whose reply has been forgotten.
    may_be_retry: bool,
    /// Kept as long as attempts may follow.
    _own: Option<Call>,
}

/// What an attempt came to.
pub(super) enum Attempt {
    Done(Outcome),
    /// Nothing yet: try again.
    Again,
    /// The group does not serve the shard.
    NotServed(NotServed),
    Failed(KvError),
}

impl<P: Ord + Clone> Sessions<P> {
    pub(super) fn new(env: &Arc<dyn Env>) -> Self {
        Sessions { own: OwnSessions::new(Arc::clone(env)), opened: OpenedSessions::default() }
    }

    /// Gives the operation its number: the one that the caller names, or one of our own.
    pub(super) fn number(&self, op: KvOp, session: Option<Stamp>) -> Numbered {
        match session {
            Some(stamp) => {
                let may_be_retry = self.opened.note(&stamp) == Opened::Seen;
                Numbered { stamp, op, may_be_retry, _own: None }
            }
            None => {
                let call = self.own.call();
                self.opened.note(call.stamp());
                Numbered { stamp: call.stamp().clone(), op, may_be_retry: false, _own: Some(call) }
            }
        }
    }

    pub(super) async fn attempt(
        &self,
        attempts: &mut Attempts,
        numbered: &mut Numbered,
        place: P,
        shard: ShardId,
        group: &dyn Reach<KvMachine>,
    ) -> Attempt {
        let Numbered { stamp, op, .. } = numbered;
        let open = self.opened.is_open(&stamp.client, &place);
        let command = if open {
            KvCommand::Op { shard, session: Some(stamp.clone()), op: op.clone() }
        } else {
            KvCommand::OpenSession { shard, client: stamp.client.clone() }
        };
        match group.write(&command, attempts.patience(), attempts.nth).await {
            Ok(written) => self.replied(attempts, numbered, place, written.reply),
            Err(error) => {
                // An opened session changes nothing that anybody sees.
                if open && !matches!(error, WriteError::Rejected(_)) {
                    attempts.lost(error.to_string());
                }
                attempts.another_replica(of_harmless(error)).await;
                Attempt::Again
            }
        }
    }

    fn replied(&self, attempts: &mut Attempts, numbered: &mut Numbered, place: P, reply: KvReply) -> Attempt {
        match reply {
            KvReply::Done { outcome, .. } => Attempt::Done(outcome),
            KvReply::SessionOpened { .. } => {
                self.opened.opened(&numbered.stamp.client, place);
                Attempt::Again
            }
            KvReply::NotServed(why) => Attempt::NotServed(why),
            KvReply::Session(Refusal::Reused) => Attempt::Failed(attempts.fail(KvError::SeqReused)),
            KvReply::Session(Refusal::BelowWindow) => Attempt::Failed(KvError::SessionWindow),
            KvReply::Session(Refusal::Expired) if numbered.may_be_retry || attempts.is_open() => {
                Attempt::Failed(KvError::SessionExpired)
            }
            KvReply::Session(Refusal::Expired) => {
                self.opened.expired(&numbered.stamp.client, &place);
                self.own.retire(&numbered.stamp.client);
                // Lower numbers may have been carried out in the session that expired: the new one takes none of them.
                numbered.stamp.acked = numbered.stamp.seq.checked_sub(1).or(numbered.stamp.acked);
                Attempt::Again
            }
            other => Attempt::Failed(attempts.fail(KvError::Invalid(format!("another command's reply: {other:?}")))),
        }
    }
}
