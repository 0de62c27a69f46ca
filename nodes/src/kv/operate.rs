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
use super::sessions::{OpenedSessions, OwnSessions, Sending};

/// The sessions of all operations that go through one client. `P` is a place where a session is opened by itself.
pub(super) struct Sessions<P> {
    own: OwnSessions,
    opened: OpenedSessions<P>,
}

/// An operation with its number: all its attempts carry it.
pub(super) struct Numbered {
    stamp: Stamp,
    op: KvOp,
    /// Whether its number was sent before this call; known once its place is.
    was_sent: Option<bool>,
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
            Some(stamp) => Numbered { stamp, op, was_sent: None, _own: None },
            None => {
                let call = self.own.call();
                Numbered { stamp: call.stamp().clone(), op, was_sent: None, _own: Some(call) }
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
        let Numbered { stamp, op, was_sent, .. } = numbered;
        // A key's place stays the same over all attempts.
        let was_sent = *was_sent.get_or_insert_with(|| self.opened.was_sent(stamp, &place));
        let sending = self.opened.send(stamp, place.clone(), was_sent || attempts.is_open());
        let command = match &sending {
            Sending::Forgotten => return Attempt::Failed(KvError::SessionWindow),
            Sending::Open => KvCommand::OpenSession { shard, client: stamp.client.clone() },
            Sending::First(stamp) | Sending::Retry(stamp) => {
                KvCommand::Op { shard, session: Some(stamp.clone()), op: op.clone() }
            }
        };
        match group.write(&command, attempts.patience(), attempts.nth).await {
            Ok(written) => self.replied(attempts, numbered, &sending, place, written.reply),
            Err(error) => {
                // An opened session changes nothing that anybody sees.
                if sending != Sending::Open && !matches!(error, WriteError::Rejected(_)) {
                    attempts.lost(error.to_string());
                }
                attempts.another_replica(of_harmless(error)).await;
                Attempt::Again
            }
        }
    }

    fn replied(
        &self,
        attempts: &mut Attempts,
        numbered: &Numbered,
        sending: &Sending,
        place: P,
        reply: KvReply,
    ) -> Attempt {
        match reply {
            KvReply::Done { outcome, .. } => Attempt::Done(outcome),
            KvReply::SessionOpened { .. } => {
                self.opened.opened(&numbered.stamp.client, place);
                Attempt::Again
            }
            KvReply::NotServed(why) => Attempt::NotServed(why),
            KvReply::Session(Refusal::Reused) => Attempt::Failed(attempts.fail(KvError::SeqReused)),
            KvReply::Session(Refusal::BelowWindow) => Attempt::Failed(KvError::SessionWindow),
            KvReply::Session(Refusal::Expired) => {
                let retry = matches!(sending, Sending::Retry(_));
                self.opened.expired(&numbered.stamp, place, retry);
                self.own.retire(&numbered.stamp.client);
                if retry { Attempt::Failed(KvError::SessionExpired) } else { Attempt::Again }
            }
            other => Attempt::Failed(attempts.fail(KvError::Invalid(format!("another command's reply: {other:?}")))),
        }
    }
}
