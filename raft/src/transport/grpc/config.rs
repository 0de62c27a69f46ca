//! Who a node is on the wire, and within which bounds it speaks.

use std::time::Duration;

use super::tls::Tls;
use crate::types::{ClusterId, Incarnation, NodeId};

/// What a [`super::GrpcTransport`] and its [`super::GrpcServer`] are made of.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster; nodes of another one are refused.
    pub cluster: ClusterId,
    /// This life of the node: random at each start. Peers see by it that the node has started again.
    pub incarnation: Incarnation,
    /// Certificates for both ends of every connection; `None` for connections in the clear.
    pub tls: Option<Tls>,
    /// The bounds.
    pub limits: GrpcLimits,
}

/// Bounds of size, of time and of speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcLimits {
    /// The largest message that is sent or taken, at least [`GrpcLimits::MESSAGE_BYTES_MIN`]. A larger one fails where it
    /// is sent. Nodes may differ: a sender keeps to its receiver's.
    pub message_bytes_max: usize,
    /// About how many bytes may wait for one peer; when there are more, calls to it fail at once.
    pub queue_bytes_max: usize,
    /// About how many bytes of messages travel in one frame, at most, unless a single one has more.
    pub batch_bytes_max: usize,
    /// How many bytes of snapshots a second are sent to one peer, at most; `None` for no bound.
    pub snapshot_bytes_per_second: Option<u64>,
    /// How long a connection, or the hello on it, may take.
    pub connect_timeout: Duration,
    /// The pause before a peer is tried again grows from the first to the second, with some of it left to chance.
    pub backoff: (Duration, Duration),
    /// A peer that has been silent for so long is asked for a sign of life...
    pub keepalive_interval: Duration,
    /// ...and given up if it gives none for so long.
    pub keepalive_timeout: Duration,
}

impl GrpcLimits {
    /// What `message_bytes_max` is at least: an append of many entries must fit.
    pub const MESSAGE_BYTES_MIN: usize = 2 << 20;

    /// With every bound in its own bounds.
    pub(super) fn within_reason(mut self) -> Self {
        self.message_bytes_max = self.message_bytes_max.max(Self::MESSAGE_BYTES_MIN);
        self.queue_bytes_max = self.queue_bytes_max.max(self.message_bytes_max);
        self
    }

    /// The largest frame: a batch is ended by the message that makes it too large.
    pub(super) fn frame_bytes_max(&self) -> usize {
        const OVERHEAD: usize = 64 << 10;
        self.message_bytes_max + self.batch_bytes_max + OVERHEAD
    }
}

impl Default for GrpcLimits {
    fn default() -> Self {
        GrpcLimits {
            message_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            batch_bytes_max: 256 << 10,
            snapshot_bytes_per_second: None,
            connect_timeout: Duration::from_secs(2),
            backoff: (Duration::from_millis(20), Duration::from_secs(1)),
            keepalive_interval: Duration::from_secs(1),
            keepalive_timeout: Duration::from_secs(2),
        }
    }
}
