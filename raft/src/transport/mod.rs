//! The transport's port: one message to one group on one node, and its answer.
//!
//! Promises of an adapter: an answer belongs to the message it is returned for, or the call fails; messages of one
//! sender to one receiver arrive in the order of their calls unless a fault says otherwise; delivery is not promised.
//! Leaves out: retries and their pace, which belong to the caller, and encoding, which belongs to each adapter (the
//! memory transport needs none).

#[cfg(feature = "grpc")]
pub mod grpc;
mod memory;
mod message;
mod once;
mod pending;
mod post;
pub mod wire;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::{ClusterId, GroupId, Incarnation, NodeId};

pub use memory::{Link, LinkFaults, MemoryNetwork, MemoryTransport, RequestKind, Traffic, Volume};
pub use message::*;
pub(crate) use once::Once;
pub use post::{Carrier, PostConfig, PostTransport};

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

/// Why a call brought no answer. Whether the receiver acted on the message is unknown only for `NoAnswer`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The message was certainly not delivered.
    #[error("{0} is unreachable")]
    Unreachable(NodeId),
    /// No answer in time, or the message or its answer was lost.
    #[error("no answer from {0}")]
    NoAnswer(NodeId),
    /// The message is larger than the transport, or the receiver, takes: it was not sent.
    #[error("a message of {bytes} bytes; at most {limit} are carried")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is carried.
        limit: usize,
    },
}

/// Carries one node's messages to others: the port.
#[async_trait::async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `envelope` to `to` and waits for the answer, at most for `timeout`.
    ///
    /// The message is handed over when the future is first polled, so calls polled in order are sent in order.
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError>;

    /// The largest message that it carries, in bytes.
    fn message_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Whether a call ends by itself soon after its message or its answer was lost. Then an answer that is late is still
    /// on its way, and asking again would only make everything later.
    fn notices_loss(&self) -> bool {
        false
    }
}

/// What a node does with the messages it gets; [`crate::Host`] is one.
#[async_trait::async_trait]
pub trait Inbound: Send + Sync + 'static {
    /// Acts on a message. `None` when it is dropped (another cluster, an unknown sender).
    ///
    /// Messages whose futures are first polled in order are handed to their group in that order.
    async fn deliver(&self, envelope: Envelope) -> Option<Answer>;
}
