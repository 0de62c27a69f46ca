//! Nodes that reach each other by single records, which may be lost, delayed, doubled or overtaken: what a transport over
//! anything that carries records needs besides the carrying.
//!
//! Promises: an answer ends the call that it answers, and no other, however late or often it comes; a message is handed on
//! once.
//! Leaves out: order; asking again, which is the caller's.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;

use super::pending::Pending;
use super::wire::{self, Message, WireError};
use super::{Answer, Envelope, Inbound, Once, Transport, TransportError};
use crate::env::{BoxFuture, Env};
use crate::types::{ClusterId, NodeId};

/// Takes records to other nodes, as well as it can.
pub trait Carrier: Send + Sync + 'static {
    /// Sends a record to `to`. It must not wait; what cannot be sent is lost.
    fn send(&self, to: NodeId, record: Bytes);
}

/// Who a node is, and whom it writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostConfig {
    /// This node.
    pub node: NodeId,
    /// Its cluster; what comes from another one is dropped.
    pub cluster: ClusterId,
    /// The other nodes; what comes from anybody else is dropped.
    pub peers: BTreeSet<NodeId>,
    /// The largest message that is sent or taken, in bytes.
    pub message_bytes_max: usize,
}

/// A node's end of a network of single records.
pub struct PostTransport {
    config: PostConfig,
    env: Arc<dyn Env>,
    carrier: Box<dyn Carrier>,
    pending: Arc<Pending>,
    arrived: Once,
    inbound: OnceLock<Weak<dyn Inbound>>,
}

impl PostTransport {
    /// A node whose records leave through `carrier`. What comes in is to be given to [`PostTransport::receive`].
    pub fn new(config: PostConfig, env: Arc<dyn Env>, carrier: impl Carrier) -> Arc<Self> {
        let carrier = Box::new(carrier);
        Arc::new(PostTransport {
            config,
            env,
            carrier,
            pending: Arc::default(),
            arrived: Once::default(),
            inbound: OnceLock::new(),
        })
    }

    /// Has messages handed on to `inbound` from now on; those that came before are lost. The first one stays.
    pub fn hand_to<I: Inbound>(&self, inbound: &Arc<I>) {
        let inbound: Weak<I> = Arc::downgrade(inbound);
        let _ = self.inbound.set(inbound);
    }

    /// Takes a record that has come from `from`. Does not wait.
    ///
    /// # Errors
    /// [`WireError`] when it is none; it is dropped. What is dropped because it is late, doubled or a stranger's is no
    /// error.
    pub fn receive(self: &Arc<Self>, from: NodeId, record: &[u8]) -> Result<(), WireError> {
        match wire::decode(record, self.config.message_bytes_max)? {
            Message::Answer(answer) => self.pending.answer(answer),
            Message::Envelope(envelope) => self.hand_on(from, envelope),
        }
        Ok(())
    }

    fn hand_on(self: &Arc<Self>, from: NodeId, envelope: Envelope) {
        let known = self.config.peers.contains(&from) && envelope.from == from;
        if !known || envelope.cluster != self.config.cluster {
            tracing::warn!(%from, claimed = %envelope.from, cluster = %envelope.cluster, "dropped a stranger's message");
            return;
        }
        let Some(inbound) = self.inbound.get().and_then(Weak::upgrade) else { return };
        if !self.arrived.let_in(from, envelope.incarnation, envelope.id) {
            return;
        }
        let post = Arc::clone(self);
        let mut handling: BoxFuture<()> = Box::pin(async move {
            if let Some(answer) = inbound.deliver(envelope).await {
                post.answer(from, &answer);
            }
        });
        // Begun here, so that messages are taken in the order in which they came.
        if (&mut handling).now_or_never().is_none() {
            self.env.spawn(handling);
        }
    }

    fn answer(&self, to: NodeId, answer: &Answer) {
        let record = wire::encode_answer(answer);
        if record.len() <= self.config.message_bytes_max {
            self.carrier.send(to, record);
        } else {
            tracing::warn!(%to, bytes = record.len(), "an answer is too large to be sent");
        }
    }
}

impl fmt::Debug for PostTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostTransport").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Transport for PostTransport {
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        if !self.config.peers.contains(&to) {
            return Err(TransportError::Unreachable(to));
        }
        let record = wire::encode_envelope(&envelope);
        let (bytes, limit) = (record.len(), self.config.message_bytes_max);
        if bytes > limit {
            return Err(TransportError::TooLarge { bytes, limit });
        }
        let waiting = self.pending.expect(&envelope);
        drop(envelope);
        self.carrier.send(to, record);
        waiting.answer(to, timeout).await
    }

    fn message_bytes_max(&self) -> usize {
        self.config.message_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::env::RealEnv;
    use crate::transport::{Reply, Request};
    use crate::types::{GroupId, Incarnation, Term};

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const SHORT: Duration = Duration::from_millis(50);

    /// What a node has sent and nobody has taken yet.
    #[derive(Clone, Default)]
    struct Letters(Arc<Mutex<Vec<(NodeId, Bytes)>>>);

    impl Letters {
        fn take(&self) -> Vec<(NodeId, Bytes)> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    impl Carrier for Letters {
        fn send(&self, to: NodeId, record: Bytes) {
            self.0.lock().unwrap().push((to, record));
        }
    }

    #[derive(Default)]
    struct Counting(Mutex<Vec<u64>>);

    #[async_trait::async_trait]
    impl Inbound for Counting {
        async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
            self.0.lock().unwrap().push(envelope.id);
            let reply = Reply::Leader { leader: None, term: Term(envelope.id) };
            Some(Answer { incarnation: envelope.incarnation, id: envelope.id, reply })
        }
    }

    fn node(node: NodeId, peer: NodeId) -> (Arc<PostTransport>, Letters) {
        let letters = Letters::default();
        let config =
            PostConfig { node, cluster: ClusterId(1), peers: BTreeSet::from([peer]), message_bytes_max: 1 << 20 };
        (PostTransport::new(config, Arc::new(RealEnv), letters.clone()), letters)
    }

    fn envelope(id: u64) -> Envelope {
        let (incarnation, group) = (Incarnation(5), GroupId(1));
        Envelope { cluster: ClusterId(1), from: A, incarnation, id, group, request: Request::WhoLeads }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_and_answers_that_come_twice_or_out_of_order_count_once_each() {
        let ((a, sent), (b, answers)) = (node(A, B), node(B, A));
        let host = Arc::<Counting>::default();
        b.hand_to(&host);
        let mut calls: Vec<_> = (0..3).map(|id| a.call(B, envelope(id), SHORT)).collect();
        for call in &mut calls {
            assert!(futures::poll!(call).is_pending());
        }
        let sent = sent.take();
        for (_, record) in sent.iter().rev().chain(&sent) {
            b.receive(A, record).unwrap();
        }
        assert_eq!(*host.0.lock().unwrap(), [2, 1, 0]);
        let answers = answers.take();
        assert_eq!(answers.len(), 3);
        for (to, record) in answers.iter().chain(&answers) {
            assert_eq!(*to, A);
            a.receive(B, record).unwrap();
        }
        for (id, call) in (0..).zip(calls) {
            assert_eq!(call.await.unwrap().id, id);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_missed_after_its_time() {
        let ((a, sent), (b, answers)) = (node(A, B), node(B, A));
        b.hand_to(&Arc::<Counting>::default());
        assert_eq!(a.call(B, envelope(1), SHORT).await.unwrap_err(), TransportError::NoAnswer(B));
        assert_eq!(a.call(NodeId(9), envelope(2), SHORT).await.unwrap_err(), TransportError::Unreachable(NodeId(9)));
        // Its answer comes when nobody waits any more.
        b.receive(A, &sent.take()[0].1).unwrap();
        answers.take().iter().for_each(|(_, record)| a.receive(B, record).unwrap());
        assert_eq!(a.pending.len(), 0);
    }

    #[tokio::test]
    async fn strangers_and_garbage_are_dropped() {
        let (b, answers) = node(B, A);
        let host = Arc::<Counting>::default();
        b.hand_to(&host);
        let record = wire::encode_envelope(&envelope(1));
        b.receive(NodeId(3), &record).unwrap();
        b.receive(A, &wire::encode_envelope(&Envelope { cluster: ClusterId(2), ..envelope(2) })).unwrap();
        b.receive(A, &wire::encode_envelope(&Envelope { from: B, ..envelope(3) })).unwrap();
        assert!(b.receive(A, &record[1..]).is_err() && b.receive(A, b"").is_err());
        assert!(host.0.lock().unwrap().is_empty() && answers.take().is_empty());
        b.receive(A, &record).unwrap();
        assert_eq!(*host.0.lock().unwrap(), [1]);
    }
}
