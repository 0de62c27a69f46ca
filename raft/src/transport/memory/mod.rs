//! The memory transport: nodes of one process call each other, and a test decides what becomes of their messages.
//!
//! Promises: on a link without faults a message is handed over while its call is first polled, with no task and no
//! timer but the caller's own patience, which starts only when the answer is not there at once. On a link with faults
//! it waits in the link's queue and arrives in the order of sending, unless reordering is asked for. A message that
//! was handed over is carried out to its end even if its caller gives up: what is left of it becomes a task. The same
//! seed, calls and faults give the same fates.
//! Leaves out: encoding, and the checks of cluster and incarnation, which are the receiver's and the sender's.

mod link;
mod network;
mod node;
mod parcel;
mod traffic;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Answer, Envelope, Inbound, Transport, TransportError};
use crate::env::{BoxFuture, Env};
use crate::types::NodeId;

use node::Node;
use parcel::{Parcel, Slot};
use wire::Wire;

pub use link::{Link, LinkFaults};
pub use network::MemoryNetwork;
pub use traffic::{RequestKind, Traffic, Volume};

/// One node's end of a [`MemoryNetwork`].
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: Arc<Node>,
    routes: RwLock<BTreeMap<NodeId, Arc<Route>>>,
}

/// The way to a node and back, found once.
struct Route {
    out: Arc<Wire>,
    back: Arc<Wire>,
}

impl MemoryTransport {
    fn new(network: MemoryNetwork, node: Arc<Node>) -> Self {
        MemoryTransport { network, node, routes: RwLock::default() }
    }

    fn route(&self, to: NodeId) -> Arc<Route> {
        if let Some(route) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(&to) {
            return Arc::clone(route);
        }
        let from = self.node.id();
        let route = Arc::new(Route { out: self.network.wire(from, to), back: self.network.wire(to, from) });
        self.routes.write().unwrap_or_else(PoisonError::into_inner).insert(to, Arc::clone(&route));
        route
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport").field("node", &self.node.id()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Transport for MemoryTransport {
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        self.node.count(&envelope.request);
        let route = self.route(to);
        let env = self.network.env();
        match within(env, timeout, route.exchange(env, envelope)).await {
            Some(result) => result,
            None => Err(TransportError::NoAnswer(to)),
        }
    }
}

impl Route {
    /// Brings a message there and its answer back; never ends when either is lost.
    async fn exchange(&self, env: &Arc<dyn Env>, envelope: Envelope) -> Result<Answer, TransportError> {
        let to = self.out.receiver();
        let unreachable = TransportError::Unreachable(to.id());
        if !self.out.is_clean() {
            let (slot, answer) = Slot::new();
            let request = Parcel::Request { envelope, back: Arc::clone(&self.back), slot };
            return match self.out.send(request) {
                Ok(()) => Ok(answer.wait().await),
                Err(_) => Err(unreachable),
            };
        }
        let life = to.life();
        let Some(inbound) = to.inbound() else { return Err(unreachable) };
        match Handling::new(env, inbound, envelope).await {
            // An answer of an earlier life of the receiver dies with that life.
            Some(answer) if to.life() == life => Ok(self.bring_back(answer).await),
            _ => pending().await,
        }
    }

    async fn bring_back(&self, answer: Answer) -> Answer {
        if self.back.is_clean() {
            return answer;
        }
        let (slot, arrival) = Slot::new();
        // A refused answer is a lost one: its sender has nobody to tell.
        let _ = self.back.send(Parcel::Reply { answer, slot });
        arrival.wait().await
    }
}

/// A message in its receiver's hands. Dropped before its end, the rest goes on as a task: a caller that gives up must
/// not stop the receiver half-way.
struct Handling {
    env: Arc<dyn Env>,
    rest: Option<BoxFuture<Option<Answer>>>,
}

impl Handling {
    fn new(env: &Arc<dyn Env>, inbound: Arc<dyn Inbound>, envelope: Envelope) -> Self {
        let rest: BoxFuture<_> = Box::pin(async move { inbound.deliver(envelope).await });
        Handling { env: Arc::clone(env), rest: Some(rest) }
    }
}

impl Future for Handling {
    type Output = Option<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(rest) = &mut self.rest else { return Poll::Pending };
        let poll = rest.as_mut().poll(cx);
        if poll.is_ready() {
            self.rest = None;
        }
        poll
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take()
            && !std::thread::panicking()
        {
            self.env.spawn(Box::pin(async move {
                rest.await;
            }));
        }
    }
}

/// Runs `future` for at most `timeout`. Most answers need no timer, or come before it would matter: it is made only
/// when the first poll brings nothing.
async fn within<T>(env: &Arc<dyn Env>, timeout: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut patience: Option<BoxFuture<()>> = None;
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => patience.get_or_insert_with(|| env.sleep(timeout)).as_mut().poll(cx).map(|()| None),
    })
    .await
}
