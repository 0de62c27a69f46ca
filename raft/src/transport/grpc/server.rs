//! Where a node listens for its peers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::link::{CONNECTION_WINDOW, STREAM_WINDOW};
use super::receive::Receiver;
use super::service::RaftService;
use super::transport::GrpcTransport;
use crate::transport::Inbound;

/// Streams that a peer may have open on one connection; it needs two.
const STREAMS_MAX: u32 = 16;

/// How long connections may take to end once their streams have.
const ENDING: Duration = Duration::from_secs(1);

/// What a server has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerStatus {
    /// Connections accepted, of peers or of others.
    pub connections: u64,
    /// Streams of peers that are open: two for each peer.
    pub streams: u64,
    /// Streams that were refused after their hello.
    pub refused: u64,
}

/// A node's listening end.
///
/// Dropped, it stops at once; [`GrpcServer::shutdown`] does it in good order.
pub struct GrpcServer {
    address: SocketAddr,
    receiver: Arc<Receiver>,
    connections: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl GrpcServer {
    /// Listens at `address` (port 0: a free one) and hands to `inbound` what peers send to the node of `transport`.
    ///
    /// # Errors
    /// When the address is taken, or the transport's certificates cannot be used.
    pub async fn start(
        transport: &Arc<GrpcTransport>,
        address: SocketAddr,
        inbound: Arc<dyn Inbound>,
    ) -> io::Result<GrpcServer> {
        let config = transport.config();
        let mut server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_MAX)
            .http2_keepalive_interval(Some(config.limits.keepalive_interval))
            .http2_keepalive_timeout(Some(config.limits.keepalive_timeout));
        if let Some(tls) = &config.tls {
            server = server.tls_config(tls.server()).map_err(io::Error::other)?;
        }
        let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        let connections = Arc::<AtomicU64>::default();
        let counted = {
            let connections = Arc::clone(&connections);
            incoming.inspect(move |accepted| {
                connections.fetch_add(u64::from(accepted.is_ok()), Ordering::Relaxed);
            })
        };
        let (stop, stopping) = watch::channel(false);
        let receiver = Receiver::new(Arc::clone(transport), inbound, stopping.clone());
        let service = RaftService { receiver: Arc::clone(&receiver), frame_bytes_max: config.limits.frame_bytes_max() };
        let task = tokio::spawn(async move {
            let mut stopping = stopping;
            let stopped = async move {
                // An error: the server was dropped.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = server.serve_with_incoming_shutdown(service, counted, stopped).await {
                tracing::error!(%error, "a node has stopped listening to its peers");
            }
        });
        Ok(GrpcServer { address, receiver, connections, stop, task: Mutex::new(Some(task)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen.
    pub fn status(&self) -> ServerStatus {
        ServerStatus {
            connections: self.connections.load(Ordering::Relaxed),
            streams: self.receiver.streams.load(Ordering::Relaxed),
            refused: self.receiver.refused.load(Ordering::Relaxed),
        }
    }

    /// Stops listening, ends all streams, and returns when the address is free.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let abort = task.abort_handle();
            if tokio::time::timeout(ENDING, task).await.is_err() {
                // A connection that nobody uses and nobody closes is no reason to wait any longer.
                abort.abort();
            }
        }
    }
}

impl fmt::Debug for GrpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcServer").field("address", &self.address).finish_non_exhaustive()
    }
}
