//! What makes this replica's state fresh enough to be read, for a query and for a look at the machine itself alike.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Consistency;
use crate::engine::NotHere;
use crate::error::{ReadError, Rejected};
use crate::group::{GroupCore, Route};
use crate::machine::Undecodable;
use crate::planted::{self, Bug};
use crate::transport::ReadIndex;

impl GroupCore {
    /// As the leader: waits until everything acknowledged before the call is applied here, on the strength of a quorum's
    /// word or of the lease.
    pub(super) async fn confirm(&self, consistency: Consistency, route: &Route<'_>) -> Result<(), ReadError> {
        let is_planted = match consistency {
            Consistency::Lease => planted::is(Bug::SleeperServesLease) && !self.rest.is_awake(),
            _ => planted::is(Bug::NoReadIndex),
        };
        if is_planted {
            return Ok(());
        }
        let ready = async {
            self.awake().await;
            let ReadIndex { index, .. } = match consistency {
                Consistency::Lease => self.replica.lease_index().await?,
                _ => self.replica.read_index(route.left()).await?,
            };
            // Also for a lease read: what was committed at its moment may not be applied yet, and a follower that has
            // applied it may have answered for it.
            if !planted::is(Bug::LeaderDoesNotWait) {
                self.replica.reach(index).await;
            }
            Ok::<_, NotHere>(())
        };
        match self.until(route.deadline, pin!(ready)).await {
            None => Err(ReadError::Deadline(route.timeout())),
            Some(Err(NotHere::Stopped(fatal))) => Err(fatal.into()),
            Some(Err(not_here)) => Err(not_here.rejected().into()),
            Some(Ok(())) => Ok(()),
        }
    }

    /// On any replica: waits until it has applied a read index that was asked of the leader after the call.
    pub(crate) async fn catch_up_to_read_index(self: &Arc<Self>, timeout: Duration) -> Result<(), ReadError> {
        let mut route = Route::new(self, timeout);
        loop {
            let target = route.next().await?;
            let patience = route.deadline.min(self.env.now() + self.options.election_timeout.1 * 4);
            match self.ask_read_index(patience).await {
                Ok(_) if planted::is(Bug::FollowerDoesNotWait) => return Ok(()),
                Ok(ReadIndex { index, .. }) => {
                    let reached = self.until(route.deadline, pin!(self.replica.reach(index))).await;
                    return reached.ok_or(ReadError::Deadline(timeout));
                }
                Err(cause) => route.refused(target, cause).await,
            }
        }
    }

    /// Whether this replica's state is provably at most so old, by what is known or by a probe that takes no longer than
    /// `wait`.
    pub(super) async fn prove(self: &Arc<Self>, bound: Duration, wait: Duration) -> Result<bool, ReadError> {
        self.running()?;
        if self.is_proven(bound) {
            self.probe_ahead(bound, wait);
            return Ok(true);
        }
        let started = self.env.now();
        // A probe that started earlier will do if its proof can still be fresh enough when it arrives.
        let not_before = started - bound / 2;
        let probe = self.probe(not_before, wait);
        Ok(self.until(started + wait, probe).await.flatten().is_some() && self.is_proven(bound))
    }

    fn is_proven(&self, bound: Duration) -> bool {
        self.proven_age(bound).is_some()
    }

    /// How old this replica's state can be at most, if that is within the bound.
    pub(super) fn proven_age(&self, bound: Duration) -> Option<Duration> {
        let age = self.freshness.age(self.env.now())?;
        if planted::is(Bug::BoundIgnored) {
            return Some(age.min(bound));
        }
        (age <= bound).then_some(age)
    }

    /// Starts the next probe while the last one still serves, so that readers who keep coming need not wait.
    fn probe_ahead(self: &Arc<Self>, bound: Duration, wait: Duration) {
        let now = self.env.now();
        if self.freshness.age(now).is_some_and(|age| age > bound / 2) {
            drop(self.probe(now - bound / 2, wait));
        }
    }

    /// A replica that has stopped answers nothing, not even from what it has.
    pub(super) fn running(&self) -> Result<(), ReadError> {
        match &self.replica.leadership().borrow().stopped {
            Some(fatal) => Err(fatal.clone().into()),
            None => Ok(()),
        }
    }

    /// What to say of a query that the machine did not answer: it may have been taken away from a replica that stopped.
    pub(super) fn unanswered(&self, error: &Undecodable) -> ReadError {
        self.running().err().unwrap_or_else(|| Rejected::Invalid(error.to_string()).into())
    }
}
