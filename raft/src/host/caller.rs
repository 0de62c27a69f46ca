//! One node's way to others: addresses messages, and accepts only the answers to them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::planted::{self, Bug};
use crate::transport::{Envelope, Reply, Request, Transport, TransportError};
use crate::types::{ClusterId, GroupId, Incarnation, NodeId};

/// Sends messages in the name of one life of a node.
#[derive(Clone)]
pub(crate) struct Caller {
    node: NodeId,
    cluster: ClusterId,
    incarnation: Incarnation,
    next: Arc<AtomicU64>,
    transport: Arc<dyn Transport>,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Caller {
    pub(crate) fn new(
        node: NodeId,
        cluster: ClusterId,
        incarnation: Incarnation,
        transport: Arc<dyn Transport>,
    ) -> Self {
        Caller { node, cluster, incarnation, next: Arc::default(), transport }
    }

    /// The largest message that can be sent, in bytes.
    pub(crate) fn message_bytes_max(&self) -> usize {
        self.transport.message_bytes_max()
    }

    /// Whether what is lost need not be waited for; see [`Transport::notices_loss`].
    pub(crate) fn notices_loss(&self) -> bool {
        self.transport.notices_loss()
    }

    /// Asks `group` on `to`, and waits at most for `timeout`.
    pub(crate) async fn call(
        &self,
        to: NodeId,
        group: GroupId,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, TransportError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let envelope =
            Envelope { cluster: self.cluster, from: self.node, incarnation: self.incarnation, id, group, request };
        let answer = self.transport.call(to, envelope, timeout).await?;
        // An append's success or a probe's read index from an earlier life must not count in this one.
        let is_mine = answer.incarnation == self.incarnation && answer.id == id;
        if !is_mine && !planted::is(Bug::StaleAnswerAccepted) {
            return Err(TransportError::NoAnswer(to));
        }
        Ok(answer.reply)
    }
}
