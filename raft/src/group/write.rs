//! The path of a write: to the leader, into the log, and back; or an error that says whether it can have happened.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::core::GroupCore;
use super::route::{Route, Target};
use crate::engine::{NotHere, Proposed};
use crate::env::Moment;
use crate::error::{Rejected, Unknown, WriteError};
use crate::host::Part;
use crate::log::{Action, Write};
use crate::planted::{self, Bug};
use crate::transport::{ForwardedWrite, Reply, Request, TransportError, WriteOutcome, WriteResult};
use crate::types::{LogId, NodeId};

/// What a message may have beside its one write.
const MESSAGE_OVERHEAD: u64 = 4096;

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
    /// Makes one write. On the leader, and when nothing goes wrong, it is proposed and nothing else.
    pub(crate) async fn write(self: &Arc<Self>, write: Write, timeout: Duration) -> Result<WriteOutcome, WriteError> {
        let begun = self.env.now();
        let result = self.write_anywhere(write, begun + timeout, timeout).await;
        self.metrics.wrote(&result, self.env.now().since(begun));
        result
    }

    async fn write_anywhere(
        self: &Arc<Self>,
        write: Write,
        deadline: Moment,
        timeout: Duration,
    ) -> Result<WriteOutcome, WriteError> {
        let _bytes = self.reserve(std::slice::from_ref(&write))?;
        let mut unknown = None;
        if self.replica.leads() {
            match self.write_one_here(&write, deadline, timeout).await {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Failed(error) => return Err(error),
                Attempt::Refused(_) => {}
                Attempt::Unknown(cause) if is_repeatable(&write) && !self.left(deadline).is_zero() => {
                    unknown = Some(cause);
                }
                Attempt::Unknown(cause) => return Err(cause.into()),
            }
        }
        let route = Route::until(self, deadline, timeout);
        // On the heap: what it needs is many times what the usual way needs, and each waiting writer has room for it.
        let routed = Box::pin(self.write_routed(vec![write], route, self.options.hops_max, unknown));
        let mut outcomes = routed.await?;
        outcomes.pop().unwrap_or_else(|| Err(Unknown::AnswerLost("an empty answer".into()).into()))
    }

    /// Makes one write if this node leads, for as long as it leads.
    pub(crate) async fn write_as_leader(
        self: &Arc<Self>,
        write: Write,
        timeout: Duration,
    ) -> Result<WriteOutcome, WriteError> {
        let begun = self.env.now();
        let result = self.write_only_here(write, timeout).await;
        self.metrics.wrote(&result, self.env.now().since(begun));
        result
    }

    async fn write_only_here(self: &Arc<Self>, write: Write, timeout: Duration) -> Result<WriteOutcome, WriteError> {
        let _bytes = self.reserve(std::slice::from_ref(&write))?;
        let mut route = Route::new(self, timeout);
        loop {
            if !self.replica.leads() {
                let leader = self.replica.leadership().borrow().leader;
                return Err(Rejected::NotLeader { leader }.into());
            }
            match self.write_one_here(&write, route.deadline, timeout).await {
                Attempt::Done(outcome) => return Ok(outcome),
                Attempt::Failed(error) => return Err(error),
                Attempt::Unknown(cause) => return Err(cause.into()),
                Attempt::Refused(cause @ Rejected::LeaderNotReady(_)) if !route.left().is_zero() => {
                    route.refused(Target::Here, cause).await;
                }
                Attempt::Refused(cause) => return Err(cause.into()),
            }
        }
    }

    /// Makes several writes in one go.
    pub(crate) async fn write_many(
        self: &Arc<Self>,
        writes: Vec<Write>,
        timeout: Duration,
    ) -> Result<Vec<WriteResult>, WriteError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let begun = self.env.now();
        let results = match self.reserve(&writes) {
            Ok(_bytes) => self.write_routed(writes, Route::new(self, timeout), self.options.hops_max, None).await,
            Err(cause) => Err(cause.into()),
        };
        let took = self.env.now().since(begun);
        match &results {
            Ok(each) => each.iter().for_each(|result| self.metrics.wrote(result, took)),
            whole @ Err(_) => self.metrics.wrote(whole, took),
        }
        results
    }

    /// Carries out writes that another node handed on.
    pub(crate) async fn write_forwarded(
        self: &Arc<Self>,
        write: ForwardedWrite,
    ) -> Result<Vec<WriteResult>, WriteError> {
        let _bytes = self.reserve(&write.writes)?;
        self.write_routed(write.writes, Route::new(self, write.timeout), write.hops_left, None).await
    }

    /// Writes wherever the leader is; `unknown` is what became of an attempt before.
    async fn write_routed(
        self: &Arc<Self>,
        writes: Vec<Write>,
        mut route: Route<'_>,
        hops: u8,
        mut unknown: Option<Unknown>,
    ) -> Result<Vec<WriteResult>, WriteError> {
        let repeatable = writes.iter().all(is_repeatable);
        // A write that may be repeated does not wait out a lost answer; it waits longer each time, so that a slow leader
        // is not asked over and over.
        let mut patience = if repeatable { self.options.election_timeout.1 * 4 } else { route.timeout() };
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
        if let [write] = writes {
            let attempt = self.write_one_here(write, route.deadline, route.timeout()).await;
            return attempt.map(|outcome| vec![Ok(outcome)]);
        }
        self.woken(route.deadline).await;
        if let Err(cause) = self.admits(writes.iter().map(Write::size).sum()) {
            return cause;
        }
        let proposed = join_all(self.replica.propose_many(writes.iter().cloned()));
        let Some(proposed) = self.until(route.deadline, proposed).await else {
            return Attempt::Unknown(Unknown::Deadline(route.timeout()));
        };
        let proposed: Vec<_> = proposed.into_iter().map(|answer| self.answered(answer)).collect();
        match proposed.iter().find_map(|proposed| proposed.as_ref().err()) {
            // Refused as a whole, it can be tried elsewhere as a whole.
            Some(not_here) if proposed.iter().all(Result::is_err) => Attempt::not_here(not_here.clone()),
            _ => {
                let each = |proposed: Proposed| proposed.unwrap_or_else(|cause| Err(cause.rejected().into()));
                Attempt::Done(proposed.into_iter().map(each).collect())
            }
        }
    }

    async fn write_one_here(&self, write: &Write, deadline: Moment, timeout: Duration) -> Attempt<WriteOutcome> {
        self.woken(deadline).await;
        if let Err(cause) = self.admits(write.size()) {
            return cause;
        }
        self.propose(write.clone(), deadline, timeout).await
    }

    /// Whether so many bytes of commands may be proposed now.
    fn admits<T>(&self, bytes: u64) -> Result<(), Attempt<T>> {
        self.replica.admits(bytes).map_err(|full| Attempt::Failed(full.into()))?;
        self.replica.is_fit().map_err(Attempt::Refused)
    }

    async fn propose(&self, write: Write, deadline: Moment, timeout: Duration) -> Attempt<WriteOutcome> {
        let proposed = pin!(self.replica.propose(write));
        match self.until(deadline, proposed).await {
            Some(answer) => judged(self.answered(answer)),
            None if planted::is(Bug::UnknownCalledRefused) => Attempt::Failed(Rejected::Deadline(timeout).into()),
            None => Attempt::Unknown(Unknown::Deadline(timeout)),
        }
    }

    /// As the leader, which it must be: proposes something that is no command, and waits until it is applied.
    pub(super) async fn propose_action(&self, action: Action, deadline: Moment) -> Result<LogId, WriteError> {
        match self.propose(Write { session: None, action }, deadline, self.left(deadline)).await {
            Attempt::Done(outcome) => Ok(outcome.at),
            Attempt::Refused(cause) => Err(cause.into()),
            Attempt::Unknown(cause) => Err(cause.into()),
            Attempt::Failed(error) => Err(error),
        }
    }

    /// What became of a proposal, also when the core dropped the answer.
    fn answered<E>(&self, answer: Result<Proposed, E>) -> Proposed {
        answer.unwrap_or_else(|_| Ok(Err(self.replica.lost())))
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
            Ok(Reply::Write(Ok(outcomes))) if outcomes.len() == writes.len() => Attempt::Done(outcomes),
            Ok(Reply::Write(Err(WriteError::Rejected(cause)))) if is_passing(&cause) => Attempt::Refused(cause),
            // What the session has forgotten it will not remember at another attempt.
            Ok(Reply::Write(Err(error @ WriteError::Unknown(Unknown::Session(_))))) => Attempt::Failed(error),
            Ok(Reply::Write(Err(WriteError::Unknown(cause)))) => Attempt::Unknown(cause),
            Ok(Reply::Write(Err(error))) => Attempt::Failed(error),
            Ok(Reply::Refused(cause)) => Attempt::Refused(cause),
            Ok(_) => Attempt::Unknown(Unknown::AnswerLost(format!("{leader} answered another question"))),
            Err(TransportError::Unreachable(_)) => Attempt::Refused(Rejected::NoLeader),
            Err(error @ TransportError::TooLarge { .. }) => {
                Attempt::Failed(Rejected::Invalid(error.to_string()).into())
            }
            Err(error @ TransportError::NoAnswer(_)) => Attempt::Unknown(Unknown::AnswerLost(error.to_string())),
        }
    }

    /// Counts `writes` as in flight for as long as the returned guard lives; refuses one that no follower could be sent.
    fn reserve(&self, writes: &[Write]) -> Result<InFlight<'_>, Rejected> {
        let carried = self.caller.message_bytes_max() as u64;
        let largest = writes.iter().map(Write::size).max().unwrap_or(0);
        if largest.saturating_add(MESSAGE_OVERHEAD) > carried {
            return Err(Rejected::Invalid(format!("a write of {largest} bytes; messages of {carried} are carried")));
        }
        let bytes = writes.iter().map(Write::size).sum();
        let own = self.load.take(bytes).ok_or(Rejected::Overloaded)?;
        let all = self.host_load.take(bytes).ok_or(Rejected::Overloaded)?;
        Ok((own, all))
    }
}

/// Bytes in flight, in the group and on the node.
type InFlight<'a> = (Part<'a>, Part<'a>);

impl<T> Attempt<T> {
    fn map<U>(self, then: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Attempt::Done(value) => Attempt::Done(then(value)),
            Attempt::Refused(cause) => Attempt::Refused(cause),
            Attempt::Unknown(cause) => Attempt::Unknown(cause),
            Attempt::Failed(error) => Attempt::Failed(error),
        }
    }

    fn not_here(cause: NotHere) -> Self {
        match cause {
            NotHere::Stopped(_) => Attempt::Failed(Rejected::Stopped.into()),
            not_here => Attempt::Refused(not_here.rejected()),
        }
    }
}

/// What became of a single write that was proposed here. One whose leader was lost counts as an attempt of unknown
/// outcome, so that a session can retry it.
fn judged(proposed: Proposed) -> Attempt<WriteOutcome> {
    match proposed {
        Ok(Ok(outcome)) => Attempt::Done(outcome),
        Ok(Err(WriteError::Unknown(cause @ (Unknown::LeaderLost | Unknown::AnswerLost(_))))) => Attempt::Unknown(cause),
        Ok(Err(error)) => Attempt::Failed(error),
        Err(not_here) => Attempt::not_here(not_here),
    }
}

fn is_repeatable(write: &Write) -> bool {
    write.session.is_some() || matches!(write.action, Action::OpenSession(_)) || planted::is(Bug::UnknownRetried)
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
        | Rejected::DiskFull(_)
        | Rejected::Deadline(_)
        | Rejected::Invalid(_)
        | Rejected::Session(_)
        | Rejected::Consistency(_) => false,
    }
}
