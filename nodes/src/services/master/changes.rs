//! Changes of the metadata at the primary: proposed under its epoch, carried out once, and answered for sure if that can
//! be.
//!
//! The epoch makes even a lost outcome definite: once a newer one has begun, what the session does not know was not
//! carried out, and never will be.

use std::sync::Arc;

use quorate::env::Moment;
use quorate::sessions::{Refusal as SessionRefusal, Stamp};
use quorate::{Consistency, Rejected, WriteError, WriteOptions};
use quorate_statemachines::master::{Done, Epoch, Found, MasterCommand, MasterOp, MasterQuery, MasterReply};

use super::masters::{Masters, Node};
use super::refusals::{refused, wrong_epoch};
use crate::kv::sessions::Sending;
use crate::stdio::ErrorReply;

/// A change on its way.
struct Changing<'a> {
    masters: &'a Arc<Masters>,
    nth: usize,
    node: Node,
    op: MasterOp,
    claimed: Option<Epoch>,
    stamp: &'a Stamp,
    deadline: Moment,
    /// Whether the number was sent before this request came.
    was_sent: bool,
}

/// How an attempt ended.
enum Attempt {
    Answered(MasterReply),
    /// It was not carried out and never will be: under its epoch.
    Void,
    /// It may be tried again with the same number.
    Again,
}

impl Masters {
    /// Has a change carried out by this master, once. Says under which epoch it is the primary.
    pub(super) async fn change(
        self: &Arc<Self>,
        nth: usize,
        op: MasterOp,
        claimed: Option<Epoch>,
        session: Option<Stamp>,
        deadline: Moment,
    ) -> Result<(Done, Epoch), ErrorReply> {
        let own = session.is_none().then(|| self.own_sessions.call());
        let Some(stamp) = session.as_ref().or(own.as_ref().map(|call| call.stamp())) else {
            return Err(ErrorReply::crash("a change without a number"));
        };
        let was_sent = self.opened.was_sent(stamp, &());
        let node = self.node(nth)?;
        Changing { masters: self, nth, node, op, claimed, stamp, deadline, was_sent }.run().await
    }
}

impl Changing<'_> {
    async fn run(self) -> Result<(Done, Epoch), ErrorReply> {
        let mut after = None;
        let mut uncertain = false;
        loop {
            let epoch = match self.masters.in_office(self.nth, after, self.deadline).await {
                Ok(epoch) => epoch,
                // It may have been carried out before this request came, and only the session can tell.
                Err(refusal) if uncertain => return Err(unknown(refusal)),
                Err(refusal) => return Err(refusal),
            };
            match self.attempt(epoch, &mut uncertain).await? {
                Attempt::Answered(MasterReply::Done(done)) => return Ok((done, epoch)),
                Attempt::Answered(MasterReply::Refused(refusal)) => return Err(refused(refusal)),
                Attempt::Answered(MasterReply::WrongEpoch(office)) => {
                    return Err(wrong_epoch(self.claimed.unwrap_or_default(), &office));
                }
                Attempt::Answered(MasterReply::Session(SessionRefusal::Expired)) if !uncertain && !self.was_sent => {
                    self.masters.opened.expired(self.stamp, (), false);
                    self.masters.own_sessions.retire(&self.stamp.client);
                }
                Attempt::Answered(MasterReply::Session(refusal)) => return Err(Rejected::Session(refusal).into()),
                Attempt::Answered(other) => return Err(ErrorReply::crash(format!("an answer to nothing: {other:?}"))),
                Attempt::Void => (after, uncertain) = (Some(epoch), false),
                Attempt::Again => {}
            }
        }
    }

    async fn attempt(&self, epoch: Epoch, uncertain: &mut bool) -> Result<Attempt, ErrorReply> {
        let timeout = self.masters.left(self.deadline);
        let options = WriteOptions { session: None, timeout };
        let stamp = match self.masters.opened.send(self.stamp, (), self.was_sent) {
            Sending::Forgotten => return Err(Rejected::Session(SessionRefusal::Expired).into()),
            Sending::Open => {
                let open = MasterCommand::OpenSession { client: self.stamp.client.clone() };
                // Opening twice is the same as once, so whatever became of this attempt says nothing of the change.
                self.node.write(&open, options).await.map_err(|error| match error {
                    WriteError::Unknown(cause) => ErrorReply::unavailable(cause.to_string()).reason("not_started"),
                    other => other.into(),
                })?;
                self.masters.opened.opened(&self.stamp.client, ());
                return Ok(Attempt::Again);
            }
            Sending::First(stamp) | Sending::Retry(stamp) => stamp,
        };
        let (claimed, op) = (self.claimed, self.op.clone());
        let command = MasterCommand::Op { epoch, claimed, session: Some(stamp.clone()), op };
        match self.node.write(&command, options).await.map(|written| written.reply) {
            Ok(MasterReply::Deposed(_)) if *uncertain => self.clear_up(epoch, &stamp).await,
            Ok(MasterReply::Deposed(_)) => Ok(Attempt::Void),
            Ok(reply) => Ok(Attempt::Answered(reply)),
            Err(WriteError::Rejected(cause)) if *uncertain => Err(unknown(cause.into())),
            Err(WriteError::Unknown(_)) => {
                *uncertain = true;
                self.clear_up(epoch, &stamp).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Finds out what became of an attempt.
    async fn clear_up(&self, epoch: Epoch, stamp: &Stamp) -> Result<Attempt, ErrorReply> {
        let query = MasterQuery::Outcome { stamp: stamp.clone(), op: self.op.clone() };
        let left = self.masters.left(self.deadline);
        let answer = match self.node.read(Consistency::Linearizable, &query, left).await {
            Ok(reply) => reply.answer,
            Err(error) => return Err(unknown(error.into())),
        };
        match answer.found {
            Found::Outcome(Some(reply)) => Ok(Attempt::Answered(reply)),
            _ if answer.office.epoch > epoch => Ok(Attempt::Void),
            _ => Ok(Attempt::Again),
        }
    }
}

/// The same without a definite code: an attempt was made whose outcome nobody knows.
fn unknown(error: ErrorReply) -> ErrorReply {
    let reason = error.reason.clone();
    let unknown = ErrorReply::timeout(error.text);
    match reason {
        Some(reason) => unknown.reason(reason),
        None => unknown,
    }
}
