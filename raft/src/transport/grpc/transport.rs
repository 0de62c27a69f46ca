//! A node's way to its peers over gRPC.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::config::GrpcConfig;
use super::peer::{Peer, PeerStatus};
use crate::transport::{Answer, Envelope, Transport, TransportError};
use crate::types::NodeId;

/// A node's connections to its peers: one for each, for all groups.
///
/// It lives on the tokio runtime in which peers are added.
pub struct GrpcTransport {
    config: Arc<GrpcConfig>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// Those whose streams are refused, and ended where they are open.
    banished: watch::Sender<BTreeSet<NodeId>>,
}

impl GrpcTransport {
    /// A node's end of the network; its peers are added with [`GrpcTransport::add_peer`].
    pub fn new(mut config: GrpcConfig) -> Arc<Self> {
        config.limits = config.limits.within_reason();
        let (config, peers) = (Arc::new(config), RwLock::default());
        Arc::new(GrpcTransport { config, peers, banished: watch::Sender::new(BTreeSet::new()) })
    }

    pub(super) fn config(&self) -> &Arc<GrpcConfig> {
        &self.config
    }

    /// Starts to connect to `peer` at `address` (`host:port`), and does so again whenever the connection is lost. A peer
    /// that moves is added again with its new address. One that was banished stays so: nothing happens.
    pub fn add_peer(&self, peer: NodeId, address: impl Into<String>) {
        let address = address.into();
        let banished = self.banished.borrow().contains(&peer);
        if banished || self.peer(peer).is_some_and(|known| known.address() == address) {
            return;
        }
        let added = Arc::new(Peer::new(Arc::clone(&self.config), peer, address));
        let before = self.peers.write().unwrap_or_else(PoisonError::into_inner).insert(peer, added);
        if let Some(before) = before {
            before.stop();
        }
    }

    /// Ends the connection to `peer`; calls to it are `Unreachable` from now on.
    pub fn remove_peer(&self, peer: NodeId) {
        let removed = self.peers.write().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        if let Some(removed) = removed {
            removed.stop();
        }
    }

    /// Has no more to do with `peer`, which is no node of the cluster any more: as [`GrpcTransport::remove_peer`], and what
    /// it sends is not heard either. Its streams are ended, and its connections refused for as long as this transport lives.
    pub fn banish(&self, peer: NodeId) {
        self.banished.send_if_modified(|banished| banished.insert(peer));
        self.remove_peer(peer);
    }

    pub(super) fn banished(&self) -> watch::Receiver<BTreeSet<NodeId>> {
        self.banished.subscribe()
    }

    /// The peers that were added, and how things stand with them.
    pub fn peers(&self) -> BTreeMap<NodeId, PeerStatus> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().map(|(id, peer)| (*id, peer.status())).collect()
    }

    /// A peer has called this node: it is there.
    pub(super) fn heard(&self, peer: NodeId) {
        if let Some(peer) = self.peer(peer) {
            peer.heard();
        }
    }

    fn peer(&self, id: NodeId) -> Option<Arc<Peer>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }
}

impl fmt::Debug for GrpcTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcTransport").field("node", &self.config.node).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Transport for GrpcTransport {
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        match self.peer(to) {
            Some(peer) => peer.call(envelope, timeout).await,
            None => Err(TransportError::Unreachable(to)),
        }
    }

    fn message_bytes_max(&self) -> usize {
        self.config.limits.message_bytes_max
    }

    /// What is lost is lost with its connection, and a silent connection is given up.
    fn notices_loss(&self) -> bool {
        true
    }
}
