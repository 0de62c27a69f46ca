//! Answering a query at each consistency, here or at the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Consistency, Proof, ReadReply};
use crate::error::{ReadError, Rejected};
use crate::group::{GroupCore, Route, Target};
use crate::transport::{ForwardedRead, Reply, Request, TransportError};
use crate::types::NodeId;

impl GroupCore {
    /// Answers a query as freshly as asked.
    pub(crate) async fn read(
        self: &Arc<Self>,
        consistency: Consistency,
        query: Bytes,
        timeout: Duration,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let result = self.read_as_asked(consistency, query, timeout, self.options.hops_max).await;
        self.metrics.read(consistency, &result, |reply| reply.proof.served_by == self.node);
        result
    }

    async fn read_as_asked(
        self: &Arc<Self>,
        consistency: Consistency,
        query: Bytes,
        timeout: Duration,
        hops: u8,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        match consistency {
            Consistency::Linearizable | Consistency::Lease => self.read_leader(consistency, query, timeout, hops).await,
            Consistency::LinearizableHere => self.read_here(&query, timeout).await,
            Consistency::Bounded(bound) => self.read_bounded(bound, query, timeout, hops).await,
            Consistency::Local => {
                self.running()?;
                self.answer(&query, false, None)
            }
        }
    }

    /// Answers a read that another node handed on.
    pub(crate) async fn read_forwarded(self: &Arc<Self>, read: ForwardedRead) -> Result<ReadReply<Bytes>, ReadError> {
        self.read_as_asked(read.consistency, read.query, read.timeout, read.hops_left).await
    }

    /// A read that the leader answers.
    async fn read_leader(
        self: &Arc<Self>,
        consistency: Consistency,
        query: Bytes,
        timeout: Duration,
        hops: u8,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let mut route = Route::new(self, timeout);
        loop {
            let target = route.next().await?;
            let attempt = match target {
                Target::Here => self.read_as_leader(consistency, &query, &route).await,
                Target::There(leader) if hops > 0 => {
                    self.read_there(leader, consistency, query.clone(), route.left(), hops - 1).await
                }
                Target::There(leader) => return Err(Rejected::NotLeader { leader: Some(leader) }.into()),
            };
            match attempt {
                Err(ReadError::Rejected(cause)) if !matches!(cause, Rejected::Invalid(_)) => {
                    route.refused(target, cause).await;
                }
                result => return result,
            }
        }
    }

    async fn read_as_leader(
        &self,
        consistency: Consistency,
        query: &Bytes,
        route: &Route<'_>,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        self.confirm(consistency, route).await?;
        self.answer(query, true, Some(Duration::ZERO))
    }

    async fn read_there(
        &self,
        leader: NodeId,
        consistency: Consistency,
        query: Bytes,
        timeout: Duration,
        hops_left: u8,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let request = Request::Read(ForwardedRead { consistency, query, hops_left, timeout });
        // A silent leader may be dead: ask again, perhaps somebody else, before the caller's time is up.
        let patience = timeout.min(self.options.election_timeout.1 * 4);
        match self.caller.call(leader, self.id, request, patience).await {
            Ok(Reply::Read(result)) => result,
            Ok(Reply::Refused(cause)) => Err(cause.into()),
            Err(error @ TransportError::TooLarge { .. }) => Err(Rejected::Invalid(error.to_string()).into()),
            Ok(_) | Err(_) => Err(Rejected::NoLeader.into()),
        }
    }

    /// A read that this replica answers at a read index asked of the leader after the read began.
    async fn read_here(self: &Arc<Self>, query: &Bytes, timeout: Duration) -> Result<ReadReply<Bytes>, ReadError> {
        self.catch_up_to_read_index(timeout).await?;
        self.answer(query, true, Some(Duration::ZERO))
    }

    /// A read that this replica answers if it can prove the bound, and the leader otherwise.
    async fn read_bounded(
        self: &Arc<Self>,
        bound: Duration,
        query: Bytes,
        timeout: Duration,
        hops: u8,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let deadline = self.env.now() + timeout;
        let leads = self.replica.leads();
        if !leads
            && !bound.is_zero()
            && self.prove(bound, timeout / 2).await?
            && let Some(reply) = self.read_proven(bound, &query)?
        {
            return Ok(reply);
        }
        let left = self.left(deadline);
        let mut reply = self.read_leader(Consistency::Linearizable, query, left, hops).await?;
        reply.proof.redirected = !leads;
        Ok(reply)
    }

    /// Answers from the state as it is if that is provably fresh enough. The age is taken after the state was read.
    fn read_proven(&self, bound: Duration, query: &Bytes) -> Result<Option<ReadReply<Bytes>>, ReadError> {
        self.running()?;
        if self.proven_age(bound).is_none() {
            return Ok(None);
        }
        let mut reply = self.answer(query, false, None)?;
        reply.proof.staleness = self.proven_age(bound);
        Ok(reply.proof.staleness.is_some().then_some(reply))
    }

    fn answer(
        &self,
        query: &Bytes,
        linearizable: bool,
        staleness: Option<Duration>,
    ) -> Result<ReadReply<Bytes>, ReadError> {
        let (applied, answer) = self.replica.query(query);
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let proof = Proof { served_by: self.node, applied, linearizable, staleness, redirected: false };
        Ok(ReadReply { answer, proof })
    }
}
