//! Writes to a group through its sessions: a client's, or one of our own, so that each takes effect once.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, Moment};
use quorate::sessions::{Refusal, Stamp};
use quorate::{Group, StateMachine, Unknown, WriteError, WriteOptions, Written};

use crate::kv::sessions::{OpenedSessions, OwnSessions, Sending};

/// The sessions of all writes to one group.
pub(super) struct GroupSessions {
    env: Arc<dyn Env>,
    own: OwnSessions,
    opened: OpenedSessions<()>,
}

impl GroupSessions {
    pub(super) fn new(env: Arc<dyn Env>) -> Self {
        GroupSessions { own: OwnSessions::new(Arc::clone(&env)), opened: OpenedSessions::default(), env }
    }

    /// Has a command carried out, once however often it comes with the same `session`.
    pub(super) async fn write<M: StateMachine>(
        &self,
        node: &Group<M>,
        command: &M::Command,
        session: Option<Stamp>,
        timeout: Duration,
    ) -> Result<Written<M::Reply>, WriteError> {
        let deadline = self.env.now() + timeout;
        match session {
            Some(stamp) => self.write_stamped(node, command, &stamp, deadline).await,
            None => {
                let call = self.own.call();
                self.write_stamped(node, command, call.stamp(), deadline).await
            }
        }
    }

    async fn write_stamped<M: StateMachine>(
        &self,
        node: &Group<M>,
        command: &M::Command,
        stamp: &Stamp,
        deadline: Moment,
    ) -> Result<Written<M::Reply>, WriteError> {
        let was_sent = self.opened.was_sent(stamp, &());
        loop {
            let timeout = deadline.since(self.env.now());
            let session = match self.opened.send(stamp, (), was_sent) {
                Sending::Forgotten => return Err(Unknown::Session(Refusal::BelowWindow).into()),
                Sending::Open => {
                    node.open_session(stamp.client.clone(), timeout).await?;
                    self.opened.opened(&stamp.client, ());
                    continue;
                }
                Sending::First(stamp) | Sending::Retry(stamp) => Some(stamp),
            };
            match node.write(command, WriteOptions { session, timeout }).await {
                Err(WriteError::Unknown(Unknown::Session(Refusal::Expired))) => {
                    // Its number is the same in the session that is opened now, so it happens once there.
                    self.opened.expired(stamp, (), was_sent);
                    self.own.retire(&stamp.client);
                    if was_sent {
                        return Err(Unknown::Session(Refusal::Expired).into());
                    }
                }
                result => return result,
            }
        }
    }
}
