//! One process: everything that a node is made of, started in order and ended in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use quorate::env::{Env, RealEnv};
use quorate::fs::{Fs, RealFs};
use quorate::log::{DiskLog, DiskLogOptions};
use quorate::transport::grpc::{GrpcConfig, GrpcLimits, GrpcServer, GrpcTransport, Tls};
use quorate::types::Incarnation;
use quorate::{Fatal, Host, HostConfig, NodeId};
use quorate_statemachines::configlog::ConfigLog;
use quorate_statemachines::kv::{KvDatabase, KvDatabaseOptions};
use tokio::sync::watch;

use super::api::Api;
use super::config::{ServerConfig, TlsFiles};
use super::fixed::Fixed;
use super::follow::{Follower, add_peers};
use super::groups::{CONTROLLER, Groups, Stores};
use super::http::{self, Http};
use super::machines::{Brought, ServerBuilder};
use super::memory::Memory;
use super::trust::ClientsTls;
use super::wrong_clock::WrongClock;
use super::{api, identity};
use crate::kv::{Directory, KvClient, Reach};

/// How often a node asks its log whether it has failed, which costs next to nothing.
const LOOK: Duration = Duration::from_millis(100);

/// A running node.
pub struct Server {
    node: NodeId,
    host: Arc<Host>,
    log: Arc<DiskLog>,
    peers: GrpcServer,
    api: api::Listening,
    http: Option<Http>,
    groups: Arc<Groups>,
    /// Why it cannot go on, once it cannot.
    failed: watch::Receiver<Option<Fatal>>,
    following: tokio::task::JoinHandle<()>,
}

/// What a node is when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// One that has been there before.
    Again,
    /// New, and one of those that its cluster begins with.
    New,
    /// New, in a cluster that is there already: it makes nothing that is there.
    Joining,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Server {
    /// Starts the node of `config`; a new one on a data directory that is empty.
    ///
    /// # Errors
    /// When the data directory is not this node's, is in use or is damaged, when an address is taken, when certificates cannot
    /// be read, or when the node was removed from its cluster.
    pub async fn start(config: &ServerConfig, start: Start) -> anyhow::Result<Server> {
        Server::builder(config).start(start).await
    }

    /// The node of `config`, with machines that the program brings along.
    pub fn builder(config: &ServerConfig) -> ServerBuilder<'_> {
        ServerBuilder::new(config)
    }

    /// As [`Server::start`], with what the program brings along.
    pub(super) async fn start_with(config: &ServerConfig, brought: Brought, start: Start) -> anyhow::Result<Server> {
        let Brought { kinds, queries } = brought;
        let address = config.address()?.clone();
        let node = NodeId(address.id);
        let dir = config.data_dir.clone().context("where is the data? (--data-dir)")?;
        let (fs, env): (Arc<dyn Fs>, Arc<dyn Env>) = (Arc::new(RealFs), clock(config));
        identity::claim(fs.as_ref(), &dir, config.cluster, address.id, start != Start::Again)?;
        let stores = open_stores(Arc::clone(&fs), Arc::clone(&env), &dir).await?;
        let log = Arc::clone(&stores.log);
        let memory = Memory::open(fs, &dir, start == Start::Joining)?;
        ensure!(!memory.book().removed.contains(&node), "{node} was removed from its cluster");

        let tls = config.tls.as_ref().map(read_tls).transpose()?;
        let grpc = GrpcConfig {
            node,
            cluster: config.cluster(),
            incarnation: Incarnation(env.random()),
            tls,
            limits: GrpcLimits::default(),
        };
        http::count();
        let transport = GrpcTransport::new(grpc);
        let host = Host::new(HostConfig { node, cluster: config.cluster() }, Arc::clone(&env), transport.clone() as _);
        // Before anybody can call: who was removed is not to be heard again. What is remembered is newer than the file.
        let book = memory.book();
        book.removed.iter().for_each(|removed| transport.banish(*removed));
        add_peers(&transport, node, &book);
        for peer in config.nodes.iter().filter(|peer| peer.id != address.id) {
            if !book.nodes.contains_key(&NodeId(peer.id)) {
                transport.add_peer(NodeId(peer.id), peer.peer.to_string());
            }
        }
        let inbound = Arc::<Host>::clone(&host);
        let listened = config.apart.listen_peer.unwrap_or(address.peer);
        let peers = GrpcServer::start(&transport, listened, inbound).await;
        let peers = peers.with_context(|| format!("cannot listen for peers at {listened}"))?;

        let founds = memory.founds_cluster(config, node);
        let fixed = Fixed::start(config, kinds, &host, &stores, &memory).await?;
        let groups = Groups::new(Arc::clone(&host), stores, config.options(), memory, fixed, config);
        let follower = Follower::start(Arc::clone(&groups), Arc::clone(&transport), founds).await?;
        let configs: Arc<dyn Reach<ConfigLog>> = Arc::clone(groups.configs()) as _;
        let directory: Arc<dyn Directory> = Arc::clone(groups.known()) as _;
        let client = Arc::new(KvClient::new(env, configs, directory));

        let (fail, failed) = watch::channel(None);
        let failing = log_fails(Arc::clone(&log));
        let following = tokio::spawn(async move {
            let fatal = tokio::select! {
                fatal = follower.run() => fatal,
                fatal = failing => fatal,
            };
            tracing::error!(%fatal, "this node cannot go on");
            fail.send_replace(Some(fatal));
        });
        let queries = queries.map(|make| make(config)).transpose().context("no coordinator can be made")?.flatten();
        let api = Api::new(config, client, Arc::clone(&groups), Arc::clone(&transport), queries);
        let http = match address.http {
            Some(at) => Some(Http::start(at, Arc::clone(&host), api.clone()).await?),
            None => None,
        };
        let clients_tls = config.clients_tls.as_ref().map(ClientsTls::read).transpose();
        let clients_tls = clients_tls.context("cannot read the certificates for clients")?;
        let api = api.listen(address.client, clients_tls).await;
        let api = api.with_context(|| format!("cannot listen for clients at {}", address.client))?;
        tracing::info!(%node, peers = %peers.address(), clients = %api.address(), "ready");
        Ok(Server { node, host, log, peers, api, http, groups, failed, following })
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where clients find it.
    pub fn client_address(&self) -> SocketAddr {
        self.api.address()
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn failed(&self) -> Fatal {
        let mut failed = self.failed.clone();
        let ended = || Fatal("the node's task has ended".into());
        match failed.wait_for(Option::is_some).await {
            Ok(fatal) => fatal.clone().unwrap_or_else(ended),
            Err(_) => ended(),
        }
    }

    /// Ends the node in good order: clients are let go, leadership is handed over, and what is queued is written.
    pub async fn shutdown(self) {
        let Server { host, log, peers, api, http, groups, following, .. } = self;
        following.abort();
        api.shutdown().await;
        // Where nobody takes it, a leader will have to be elected.
        let all = groups.all();
        futures::future::join_all(all.iter().map(|(_, group)| group.hand_over())).await;
        groups.fixed().let_go();
        host.shutdown().await;
        peers.shutdown().await;
        if let Some(http) = http {
            http.shutdown().await;
        }
        log.close().await;
    }
}

/// The world as it is, but for a wall clock that a test has set wrong.
fn clock(config: &ServerConfig) -> Arc<dyn Env> {
    match config.apart.clock_offset_ms {
        0 => Arc::new(RealEnv),
        ms => Arc::new(WrongClock(ms)),
    }
}

/// Opens all that a node's replicas are made of.
pub(super) async fn open_stores(fs: Arc<dyn Fs>, env: Arc<dyn Env>, dir: &Path) -> anyhow::Result<Stores> {
    let log = open_log(&fs, &env, &dir.join("log")).await?;
    let database = open_database(dir.join("keys")).await?;
    Ok(Stores { fs, env, log, snapshots: dir.join("snapshots"), database })
}

/// Waits until the log takes nothing any more, and says why. Groups notice it only when they have something to write, and each
/// by itself.
async fn log_fails(log: Arc<DiskLog>) -> Fatal {
    let any = log.group(CONTROLLER);
    loop {
        if let Err(error) = any.state().await {
            return Fatal(error.to_string());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Opens the log off the runtime's threads: it reads all of it first.
async fn open_log(fs: &Arc<dyn Fs>, env: &Arc<dyn Env>, dir: &Path) -> anyhow::Result<Arc<DiskLog>> {
    let (fs, env, dir) = (Arc::clone(fs), Arc::clone(env), dir.to_owned());
    let opened = tokio::task::spawn_blocking(move || DiskLog::open(fs, env, &dir, DiskLogOptions::default())).await?;
    opened.context("cannot open the log")
}

async fn open_database(dir: PathBuf) -> anyhow::Result<Arc<KvDatabase>> {
    let opened = tokio::task::spawn_blocking(move || KvDatabase::open(dir, KvDatabaseOptions::default())).await?;
    Ok(Arc::new(opened.context("cannot open the database")?))
}

fn read_tls(files: &TlsFiles) -> anyhow::Result<Tls> {
    Tls::from_files(&files.ca, Path::new(&files.cert), Path::new(&files.key)).context("cannot read the certificates")
}
