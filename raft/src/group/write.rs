//! The path of a write: to the leader, into the log, and back; or an error that says whether it can have happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::core::GroupCore;
use super::route::{Route, Target};
use crate::engine::NotHere;
use crate::env::until;
use crate::error::{Rejected, Unknown, WriteError};
use crate::log::{Action, Proposal};
use crate::sessions::Stamp;
use crate::transport::{ForwardedWrite, Reply, Request, TransportError, WriteOutcome, WriteResult};
use crate::types::NodeId;

type Write = (Option<Stamp>, Action);

/// How one attempt ended.
enum Attempt<T> {
    Done(T),
    /// Certainly not proposed: may be tried again as it is.
    Refused(Rejected),
    /// May have been proposed: may be tried again only through a session.
    Unknown(Unknown),
    /// Final.
    Failed(WriteError),
}

impl GroupCore {
    /// Writes one command.
    pub(crate) async fn write(
        self: &Arc<Self>,
        session: Option<Stamp>,
        action: Action,
        timeout: Duration,
    ) -> Result<WriteOutcome, WriteError> {
        let mut outcomes = self.write_routed(vec![(session, action)], timeout, self.options.hops_max).await?;
        outcomes.pop().unwrap_or_else(|| Err(Unknown::AnswerLost("an empty answer".into()).into()))
    }

    /// Writes several commands in one go.
    pub(crate) async fn write_many(
        self: &Arc<Self>,
        writes: Vec<Write>,
        timeout: Duration,
    ) -> Result<Vec<WriteResult>, WriteError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.write_routed(writes, timeout, self.options.hops_max).await
    }

    /// Carries out writes that another node handed on.
    pub(crate) async fn write_forwarded(
        self: &Arc<Self>,
        write: ForwardedWrite,
    ) -> Result<Vec<WriteResult>, WriteError> {
        self.write_routed(write.writes, write.timeout, write.hops_left).await
    }

    async fn write_routed(
        self: &Arc<Self>,
        writes: Vec<Write>,
        timeout: Duration,
        hops: u8,
    ) -> Result<Vec<WriteResult>, WriteError> {
        let _bytes = self.reserve(&writes)?;
        let repeatable =
            writes.iter().all(|(session, action)| session.is_some() || matches!(action, Action::OpenSession(_)));
        let mut route = Route::new(self, timeout);
        let mut unknown = None;
        // A write that may be repeated does not wait out a lost answer; it waits longer each time, so that a slow leader
        // is not asked over and over.
        let mut patience = if repeatable { self.options.election_timeout.1 * 4 } else { timeout };
        loop {
            let target = match route.next().await {
                Ok(target) => target,
                Err(cause) => return Err(unknown.map_or(cause.into(), WriteError::Unknown)),
            };
            let attempt = match target {
                Target::Here => self.write_here(&writes, &route).await,
                Target::There(leader) if hops > 0 => {
                    self.write_there(leader, &writes, patience.min(route.left()), hops - 1).await
                }
                Target::There(leader) => {
                    let cause = Rejected::NotLeader { leader: Some(leader) };
                    return Err(unknown.map_or(cause.into(), WriteError::Unknown));
                }
            };
            match attempt {
                Attempt::Done(outcomes) => return Ok(outcomes),
                Attempt::Failed(error) if unknown.is_none() || !error.is_definite() => return Err(error),
                Attempt::Failed(_) => return Err(unknown.map_or(Unknown::LeaderLost, |cause| cause).into()),
                Attempt::Refused(cause) => route.refused(target, cause).await,
                Attempt::Unknown(cause) if repeatable && !route.left().is_zero() => {
                    unknown = Some(cause);
                    patience = patience.saturating_mul(2);
                    route.refused(target, Rejected::NoLeader).await;
                }
                Attempt::Unknown(cause) => return Err(cause.into()),
            }
        }
    }

    async fn write_here(&self, writes: &[Write], route: &Route<'_>) -> Attempt<Vec<WriteResult>> {
        let stamped = self.env.wall();
        let mut proposals: Vec<_> = writes
            .iter()
            .map(|(session, action)| Proposal { stamped, session: session.clone(), action: action.clone() })
            .collect();
        let proposed = async {
            match proposals.pop() {
                Some(only) if proposals.is_empty() => self.replica.propose(only).await.map(|outcome| vec![outcome]),
                Some(last) => {
                    proposals.push(last);
                    self.replica.propose_many(proposals).await
                }
                None => Ok(Vec::new()),
            }
        };
        match until(&self.env, route.deadline, proposed).await {
            None => Attempt::Unknown(Unknown::Deadline(route.timeout())),
            Some(Ok(outcomes)) => judged(outcomes),
            Some(Err(NotHere::Stopped(_))) => Attempt::Failed(Rejected::Stopped.into()),
            Some(Err(not_here)) => Attempt::Refused(not_here.rejected()),
        }
    }

    async fn write_there(
        &self,
        leader: NodeId,
        writes: &[Write],
        timeout: Duration,
        hops_left: u8,
    ) -> Attempt<Vec<WriteResult>> {
        let request = Request::Write(ForwardedWrite { writes: writes.to_vec(), hops_left, timeout });
        match self.caller.call(leader, self.id, request, timeout).await {
            Ok(Reply::Write(Ok(outcomes))) if outcomes.len() == writes.len() => judged(outcomes),
            Ok(Reply::Write(Err(WriteError::Rejected(cause)))) if is_passing(&cause) => Attempt::Refused(cause),
            // What the session has forgotten it will not remember at another attempt.
            Ok(Reply::Write(Err(error @ WriteError::Unknown(Unknown::Session(_))))) => Attempt::Failed(error),
            Ok(Reply::Write(Err(WriteError::Unknown(cause)))) => Attempt::Unknown(cause),
            Ok(Reply::Write(Err(error))) => Attempt::Failed(error),
            Ok(Reply::Refused(cause)) => Attempt::Refused(cause),
            Ok(_) => Attempt::Unknown(Unknown::AnswerLost(format!("{leader} answered another question"))),
            Err(TransportError::Unreachable(_)) => Attempt::Refused(Rejected::NoLeader),
            Err(error @ TransportError::NoAnswer(_)) => Attempt::Unknown(Unknown::AnswerLost(error.to_string())),
        }
    }

    /// Counts the bytes of `writes` as in flight for as long as the returned guard lives.
    fn reserve(self: &Arc<Self>, writes: &[Write]) -> Result<InFlight, Rejected> {
        let bytes = writes
            .iter()
            .map(|(_, action)| match action {
                Action::Apply(command) => command.len() as u64,
                Action::OpenSession(client) => client.0.len() as u64,
            })
            .sum();
        let before = self.inflight_bytes.fetch_add(bytes, Ordering::Relaxed);
        let guard = InFlight { core: Arc::clone(self), bytes };
        // One write is always let in, however large.
        if before > 0 && before + bytes > self.options.inflight_bytes_max {
            return Err(Rejected::Overloaded);
        }
        Ok(guard)
    }
}

/// Bytes in flight, given back on drop.
struct InFlight {
    core: Arc<GroupCore>,
    bytes: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.core.inflight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A single write whose leader was lost counts as an attempt of unknown outcome, so that a session can retry it.
fn judged(mut outcomes: Vec<WriteResult>) -> Attempt<Vec<WriteResult>> {
    if outcomes.len() == 1 {
        match outcomes.pop() {
            Some(Err(WriteError::Unknown(cause @ (Unknown::LeaderLost | Unknown::AnswerLost(_))))) => {
                return Attempt::Unknown(cause);
            }
            Some(Err(error)) => return Attempt::Failed(error),
            Some(outcome) => outcomes.push(outcome),
            None => {}
        }
    }
    Attempt::Done(outcomes)
}

/// Whether another attempt may find it otherwise.
fn is_passing(cause: &Rejected) -> bool {
    match cause {
        Rejected::NoLeader
        | Rejected::NotLeader { .. }
        | Rejected::LeaderNotReady(_)
        | Rejected::NoSuchGroup(_)
        | Rejected::Stopped => true,
        Rejected::Overloaded
        | Rejected::Deadline(_)
        | Rejected::Invalid(_)
        | Rejected::Session(_)
        | Rejected::Consistency(_) => false,
    }
}
