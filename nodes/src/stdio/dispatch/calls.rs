//! Calls of the service: each in a task of its own, a fault only when those above it have come to their first halt.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::OwnedRwLockReadGuard;

use super::{Dispatch, Finished};
use crate::stdio::error::ErrorReply;
use crate::stdio::lanes::Ticket;
use crate::stdio::reply::{Answer, Reply};
use crate::stdio::service::{Call, Fault, Service};

/// A fault that acts below a barrier: if its target is unknown, the barrier may still make it known.
pub(super) struct Attempt {
    pub(super) fault: Fault,
    pub(super) below_barrier: bool,
    /// That the target is unknown; set while it waits for the barrier.
    pub(super) refused: Option<Answer>,
}

impl<S: Service> Dispatch<S> {
    pub(super) fn start_call(&mut self, ticket: Ticket, dest: Arc<str>, command: S::Command) {
        let Some(pending) = self.pending.get(&ticket) else { return };
        let margin = (pending.timeout / 20).min(Duration::from_millis(50));
        let call = Call { src: pending.src.clone(), dest, deadline: pending.deadline - margin };
        let service = self.service.clone();
        self.spawn(ticket, async move { service.call(command, call).await });
    }

    pub(super) fn start_fault(&mut self, ticket: Ticket, fault: Fault) {
        let below_barrier = self.schedule.is_below_barrier(ticket);
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        pending.fault = Some(Attempt { fault: fault.clone(), below_barrier, refused: None });
        let (service, entered) = (self.service.clone(), self.entered.clone());
        self.spawn(ticket, async move {
            // Those above have started: let each come to its first halt before anything breaks under it.
            drop(entered.write().await);
            service.fault(fault).await.map(|()| Reply::new())
        });
    }

    pub(super) fn spawn(
        &mut self,
        ticket: Ticket,
        call: impl Future<Output = Result<Reply, ErrorReply>> + Send + 'static,
    ) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        let kind = pending.kind.clone();
        // While a fault waits there is nothing to hold: it does not wait for those that start after it.
        let entering = if pending.fault.is_none() { self.entered.clone().try_read_owned().ok() } else { None };
        let call = AssertUnwindSafe(until_first_halt(call, entering)).catch_unwind();
        pending.running = Some(self.calls.spawn(async move {
            let outcome = call.await.unwrap_or_else(|_| Err(ErrorReply::crash("the request's task has failed")));
            Finished { ticket, answer: Answer::new(&kind, outcome) }
        }));
    }

    /// Tries those again whose targets were unknown, once every barrier above has been answered.
    pub(super) fn retry_faults(&mut self) {
        for ticket in std::mem::take(&mut self.refused_faults) {
            let attempt = self.pending.get(&ticket).and_then(|pending| pending.fault.as_ref());
            let Some(fault) = attempt.map(|attempt| attempt.fault.clone()) else { continue };
            if self.schedule.is_below_barrier(ticket) {
                self.refused_faults.push(ticket);
            } else {
                self.start_fault(ticket, fault);
            }
        }
    }
}

/// Runs a call and drops `entering` once it has been polled for the first time.
async fn until_first_halt<T>(call: impl Future<Output = T>, entering: Option<OwnedRwLockReadGuard<()>>) -> T {
    let mut call = std::pin::pin!(call);
    match futures::poll!(&mut call) {
        Poll::Ready(value) => value,
        Poll::Pending => {
            drop(entering);
            call.await
        }
    }
}
