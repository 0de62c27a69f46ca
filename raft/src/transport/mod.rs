//! The transport's port: one message to one group on one node, and its answer.
//!
//! Promises of an adapter: an answer belongs to the message it is returned for, or the call fails; messages of one
//! sender to one receiver arrive in the order of their calls unless a fault says otherwise; delivery is not promised.
//! Leaves out: retries and their pace, which belong to the caller, and encoding, which belongs to each adapter (the
//! memory transport needs none).

mod memory;
mod message;
#[cfg(feature = "grpc")]
mod pending;
pub mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ClusterId, GroupId, Incarnation, NodeId};

pub use memory::{Link, LinkFaults, MemoryNetwork, MemoryTransport, RequestKind, Traffic, Volume};
pub use message::*;

/// A request on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The sender's cluster; a receiver of another one drops the message.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The sender's life: an answer is for this one only.
    pub incarnation: Incarnation,
    /// Unique among the sender's messages in that life.
    pub id: u64,
    /// The group meant.
    pub group: GroupId,
    /// What is asked.
    pub request: Request,
}

/// An answer on its way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The incarnation of the envelope answered.
    pub incarnation: Incarnation,
    /// The id of the envelope answered.
    pub id: u64,
    /// What is answered.
    pub reply: Reply,
}

/// Why a call brought no answer. Whether the receiver acted on the message is unknown, except for `Unreachable`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The message was certainly not delivered.
    #[error("{0} is unreachable")]
    Unreachable(NodeId),
    /// No answer in time, or the message or its answer was lost.
    #[error("no answer from {0}")]
    NoAnswer(NodeId),
}

/// Carries one node's messages to others: the port.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `envelope` to `to` and waits for the answer, at most for `timeout`.
    ///
    /// The message is handed over when the future is first polled, so calls polled in order are sent in order.
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError>;
}

/// What a node does with the messages it gets; [`crate::Host`] is one.
#[async_trait::async_trait]
pub trait Inbound: Send + Sync + 'static {
    /// Acts on a message. `None` when it is dropped (another cluster, an unknown sender).
    ///
    /// Messages whose futures are first polled in order are handed to their group in that order.
    async fn deliver(&self, envelope: Envelope) -> Option<Answer>;
}
