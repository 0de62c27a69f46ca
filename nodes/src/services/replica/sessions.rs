//! Writes to a group through its sessions: a client's, or one of our own, so that each takes effect once.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, Moment};
use quorate::sessions::{Refusal, Stamp};
use quorate::{Group, StateMachine, Unknown, WriteError, WriteOptions, Written};

use crate::kv::sessions::{Opened, OpenedSessions, OwnSessions};

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
            Some(stamp) => {
                let may_be_retry = self.opened.note(&stamp) == Opened::Seen;
                self.write_stamped(node, command, stamp, may_be_retry, deadline).await
            }
            None => {
                let call = self.own.call();
                self.opened.note(call.stamp());
                self.write_stamped(node, command, call.stamp().clone(), false, deadline).await
            }
        }
    }

    async fn write_stamped<M: StateMachine>(
        &self,
        node: &Group<M>,
        command: &M::Command,
        mut stamp: Stamp,
        may_be_retry: bool,
        deadline: Moment,
    ) -> Result<Written<M::Reply>, WriteError> {
        let mut reopened = false;
        loop {
            if !self.opened.is_open(&stamp.client, &()) {
                node.open_session(stamp.client.clone(), deadline.since(self.env.now())).await?;
                self.opened.opened(&stamp.client, ());
            }
            let options = WriteOptions { session: Some(stamp.clone()), timeout: deadline.since(self.env.now()) };
            match node.write(command, options).await {
                Err(WriteError::Unknown(Unknown::Session(Refusal::Expired))) if !may_be_retry && !reopened => {
                    self.opened.expired(&stamp.client, &());
                    self.own.retire(&stamp.client);
                    // Lower numbers may have been carried out in the session that expired: the new one takes none.
                    stamp.acked = stamp.seq.checked_sub(1).or(stamp.acked);
                    reopened = true;
                }
                result => return result,
            }
        }
    }
}
