//! A look at the machine itself: the same proofs as a query's, and the answer never comes from another node.

use std::sync::Arc;
use std::time::Duration;

use super::{Consistency, Proof, ReadReply};
use crate::error::{ReadError, Rejected};
use crate::group::{GroupCore, Route};
use crate::machine::Machine;

impl GroupCore {
    /// Runs `look` on this replica's machine once its state is as fresh as asked.
    pub(crate) async fn with_machine<T>(
        self: &Arc<Self>,
        consistency: Consistency,
        timeout: Duration,
        look: impl FnOnce(&dyn Machine) -> T,
    ) -> Result<ReadReply<T>, ReadError> {
        let result = self.look(consistency, timeout, look).await;
        self.metrics.read(consistency, &result, |_| true);
        result
    }

    async fn look<T>(
        self: &Arc<Self>,
        consistency: Consistency,
        timeout: Duration,
        look: impl FnOnce(&dyn Machine) -> T,
    ) -> Result<ReadReply<T>, ReadError> {
        let bound = match consistency {
            Consistency::Linearizable | Consistency::Lease => {
                self.confirm_here(consistency, timeout).await?;
                Some(Duration::ZERO)
            }
            Consistency::Bounded(bound) if !bound.is_zero() && self.replica.leads() => {
                self.confirm_here(Consistency::Linearizable, timeout).await?;
                Some(Duration::ZERO)
            }
            // Nothing but a linearizable state is surely of age zero.
            Consistency::LinearizableHere | Consistency::Bounded(Duration::ZERO) => {
                self.catch_up_to_read_index(timeout).await?;
                Some(Duration::ZERO)
            }
            Consistency::Bounded(bound) => {
                if !self.prove(bound, timeout).await? {
                    return Err(too_old(bound));
                }
                Some(bound)
            }
            Consistency::Local => None,
        };
        self.running()?;
        let (applied, seen) = self.replica.with_machine(look);
        let answer = seen.map_err(|error| self.unanswered(&error))?;
        let linearizable = bound.is_some_and(|bound| bound.is_zero());
        let staleness = match bound {
            Some(bound) if !linearizable => {
                // Taken after the look: however long that took, the age counts it.
                Some(self.proven_age(bound).ok_or_else(|| too_old(bound))?)
            }
            bound => bound,
        };
        let proof = Proof { served_by: self.node, applied, linearizable, staleness, redirected: false };
        Ok(ReadReply { answer, proof })
    }

    /// Confirms that this node leads, for as long as it leads.
    async fn confirm_here(self: &Arc<Self>, consistency: Consistency, timeout: Duration) -> Result<(), ReadError> {
        let mut route = Route::new(self, timeout);
        loop {
            self.running()?;
            if !self.replica.leads() {
                let leader = self.replica.leadership().borrow().leader;
                return Err(Rejected::NotLeader { leader }.into());
            }
            match self.confirm(consistency, &route).await {
                Err(ReadError::Rejected(cause @ Rejected::LeaderNotReady(_))) => {
                    // Newly elected, or out of touch for a moment.
                    if route.left().is_zero() {
                        return Err(cause.into());
                    }
                    route.refused(crate::group::Target::Here, cause).await;
                }
                result => return result,
            }
        }
    }
}

fn too_old(bound: Duration) -> ReadError {
    Rejected::Consistency(format!("this replica cannot prove that its state is at most {bound:?} old")).into()
}
