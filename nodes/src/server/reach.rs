//! A group on servers, for logic that is written against [`Reach`] and runs elsewhere: a coordinator of queries, say.
//!
//! Promises: one attempt is one call to one server; an error says whether it can have happened.
//! Leaves out: sessions, which are the machine's own where there are such (see [`GroupClient`](super::GroupClient) for others).

use std::marker::PhantomData;
use std::time::Duration;

use async_trait::async_trait;
use quorate::machine::{decode, encode};
use quorate::types::{Index, LogId, Term};
use quorate::{Consistency, NodeId, Proof, ReadError, ReadReply, Rejected, StateMachine, Unknown, WriteError, Written};
use tonic::{Code, Status};

use super::outcome::is_unknown;
use super::proto::{self, ReadRequest, WriteRequest, read_request};
use super::servers::{Servers, millis, with_deadline};
use super::trust::ClientTls;
use crate::kv::Reach;

/// The way to a group whose machine is `M`, through any server of its cluster.
pub struct GroupReach<M> {
    servers: Servers,
    group: String,
    _machine: PhantomData<fn() -> M>,
}

impl<M> std::fmt::Debug for GroupReach<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupReach").field("group", &self.group).finish_non_exhaustive()
    }
}

impl<M: StateMachine> GroupReach<M> {
    /// The way to the group of this name in the cluster of these servers (`host:port`). Nothing is connected before it is used.
    ///
    /// # Errors
    /// When an address is none, or there is none, or a certificate cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        group: &str,
        servers: impl IntoIterator<Item = impl AsRef<str>>,
        tls: &ClientTls,
    ) -> anyhow::Result<GroupReach<M>> {
        Ok(GroupReach { servers: Servers::new(servers, tls)?, group: group.to_owned(), _machine: PhantomData })
    }
}

/// What asks a group as freshly as `consistency` says.
pub(super) fn read_request(group: &str, consistency: Consistency, query: Vec<u8>) -> ReadRequest {
    let mut request = ReadRequest { group: group.to_owned(), query, ..ReadRequest::default() };
    request.set_consistency(match consistency {
        Consistency::Linearizable | Consistency::Bounded(_) => read_request::Consistency::Linearizable,
        Consistency::LinearizableHere => read_request::Consistency::LinearizableHere,
        Consistency::Lease => read_request::Consistency::Lease,
        Consistency::Local => read_request::Consistency::Local,
    });
    if let Consistency::Bounded(bound) = consistency {
        request.max_staleness_ms = Some(u64::try_from(bound.as_millis()).unwrap_or(u64::MAX));
    }
    request
}

fn proof(reply: &proto::ReadReply) -> Proof {
    let age = reply.staleness_ms.filter(|ms| ms.is_finite() && *ms >= 0.0);
    Proof {
        served_by: NodeId(reply.served_by),
        applied: reply.applied.map(Index),
        linearizable: reply.linearizable,
        staleness: age.map(|ms| Duration::from_secs_f64(ms / 1000.0)),
        redirected: reply.redirected,
    }
}

fn refused(status: &Status) -> Rejected {
    match status.code() {
        Code::InvalidArgument | Code::NotFound | Code::Unimplemented => Rejected::Invalid(status.message().to_owned()),
        _ => Rejected::LeaderNotReady(status.message().to_owned()),
    }
}

/// What a failed read came to.
pub(super) fn unread(status: &Status, timeout: Duration) -> ReadError {
    match status.code() {
        Code::DeadlineExceeded => ReadError::Deadline(timeout),
        _ => refused(status).into(),
    }
}

#[async_trait]
impl<M: StateMachine> Reach<M> for GroupReach<M> {
    async fn write(
        &self,
        command: &M::Command,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<M::Reply>, WriteError> {
        let (group, command) = (self.group.clone(), encode(command).into());
        let request = WriteRequest { group, command, session: None, timeout_ms: millis(timeout) };
        match self.servers.nth(attempt).write(with_deadline(request, timeout)).await {
            Ok(reply) => {
                self.servers.answered(attempt);
                let reply = reply.into_inner();
                let at = LogId { term: Term(reply.term), index: Index(reply.index) };
                match decode(&reply.reply) {
                    Ok(answer) => Ok(Written { at, reply: answer, replayed: reply.replayed }),
                    Err(error) => Err(Unknown::AnswerLost(error.to_string()).into()),
                }
            }
            Err(status) if is_unknown(&status) => Err(Unknown::AnswerLost(status.message().to_owned()).into()),
            Err(status) => Err(refused(&status).into()),
        }
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        let mut request = read_request(&self.group, consistency, encode(query).into());
        request.timeout_ms = millis(timeout);
        match self.servers.nth(attempt).read(with_deadline(request, timeout)).await {
            Ok(reply) => {
                self.servers.answered(attempt);
                let reply = reply.into_inner();
                let answer = decode(&reply.answer).map_err(|error| Rejected::Invalid(error.to_string()))?;
                Ok(ReadReply { answer, proof: proof(&reply) })
            }
            Err(status) => Err(unread(&status, timeout)),
        }
    }

    /// Servers do not tell of changes: whoever waits for one looks again after `timeout`.
    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        tokio::time::sleep(timeout).await;
        past
    }
}
