//! What clients and operators ask of a server, over gRPC: `proto/quorate.proto`.
//!
//! - [`Api`]: what answers, and where. `service`: each call, and who carries it out.
//! - `keys`: a key's value and its changes. `machines`: groups in the words of their own machines. `cluster`: who serves what, and
//!   where. `replicas`: what a group's replicas are asked for.
//!
//! Promises: any server answers anything; a change's error says whether it can have happened.

mod cluster;
mod keys;
mod machines;
mod replicas;
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::Stamp;
use quorate::transport::grpc::GrpcTransport;
use quorate::{ClientId, NodeId};
use quorate_statemachines::configlog::Query;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};

use super::config::ServerConfig;
use super::groups::Groups;
use super::masters::Role;
use super::outcome::rejected;
use super::proto;
use super::proto::quorate_server::QuorateServer;
use super::views::Views;
use crate::kv::KvClient;
use crate::query::Queries;

/// How long calls that are being answered may take when the server ends.
const ENDING: Duration = Duration::from_secs(5);

/// Answers clients.
#[derive(Clone)]
pub(super) struct Api(Arc<Parts>);

struct Parts {
    node: NodeId,
    cluster: u64,
    client: Arc<KvClient>,
    groups: Arc<Groups>,
    transport: Arc<GrpcTransport>,
    views: Views,
    queries: Option<Arc<dyn Queries>>,
    ending: watch::Sender<bool>,
}

/// Where clients are answered.
pub(super) struct Listening {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listening {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new calls, and waits for those that are being answered.
    pub(super) async fn shutdown(self) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(ENDING, self.task).await.is_err() {
            abort.abort();
        }
    }
}

impl Api {
    pub(super) fn new(
        config: &ServerConfig,
        client: Arc<KvClient>,
        groups: Arc<Groups>,
        transport: Arc<GrpcTransport>,
        queries: Option<Arc<dyn Queries>>,
    ) -> Self {
        let node = NodeId(config.node.unwrap_or_default());
        let (views, ending) = (Views::default(), watch::channel(false).0);
        Api(Arc::new(Parts { node, cluster: config.cluster, client, groups, transport, views, queries, ending }))
    }

    /// Answers at `address`.
    pub(super) async fn listen(&self, address: SocketAddr, tls: Option<ServerTlsConfig>) -> anyhow::Result<Listening> {
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls)?;
        }
        let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        let (stop, mut stopping) = (self.0.ending.clone(), self.0.ending.subscribe());
        let service = QuorateServer::new(self.clone());
        let task = tokio::spawn(async move {
            let stopped = async move {
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            if let Err(error) = server.serve_with_incoming_shutdown(service, incoming, stopped).await {
                tracing::error!(%error, "clients are not answered any more");
            }
        });
        Ok(Listening { address, stop, task })
    }

    /// What this node knows of itself.
    pub(super) fn status(&self) -> proto::StatusReply {
        let parts = &self.0;
        let all = parts.groups.all().into_iter();
        let replicas = all.filter_map(|(name, group)| group.replica(&name)).collect();
        let master = parts.groups.fixed().masters().and_then(Role::standing);
        let peers = parts.transport.peers().into_iter().map(|(node, peer)| proto::Peer {
            node: node.0,
            address: peer.address,
            connected: peer.connected,
        });
        proto::StatusReply { node: parts.node.0, cluster: parts.cluster, replicas, peers: peers.collect(), master }
    }

    /// Brings this node's own gauges up to date; the groups' are their host's.
    pub(super) fn sample_metrics(&self) {
        if let Some(master) = self.0.groups.fixed().masters().and_then(Role::standing) {
            metrics::gauge!("quorate_master_epoch").set(master.epoch.unwrap_or_default() as f64);
            metrics::gauge!("quorate_master_primary").set(if master.epoch.is_some() { 1.0 } else { 0.0 });
        }
    }

    /// Whether the configuration log answers: then this node can serve.
    pub(super) async fn is_ready(&self, timeout: Duration) -> bool {
        self.0.client.configuration(Query::Latest, timeout).await.is_ok()
    }

    fn role(&self) -> Result<&Role, Status> {
        let none = || rejected(Status::failed_precondition("this cluster has no masters, as far as this node knows"));
        self.0.groups.fixed().masters().ok_or_else(none)
    }
}

fn no_group(name: &str) -> Status {
    rejected(Status::not_found(format!("there is no group {name}")))
}

fn stamp(session: Option<proto::Session>) -> Option<Stamp> {
    let proto::Session { client, seq, acked } = session?;
    Some(Stamp { client: ClientId::new(client), seq, acked })
}
