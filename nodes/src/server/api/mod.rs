//! What clients and operators ask of a server, over gRPC: `proto/quorate.proto`.
//!
//! Promises: any server answers anything; a change's error says whether it can have happened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::Stamp;
use quorate::transport::Change as AdminChange;
use quorate::transport::grpc::GrpcTransport;
use quorate::{AdminError, ClientId, Consistency, NodeId, WriteOptions};
use quorate_statemachines::configlog::{self, Command, NodeChange, NodeRefusal, Query, Refusal, server_node};
use quorate_statemachines::kv::{Json, KvAnswer, KvMachine, KvOp, KvQuery, Outcome};
use quorate_statemachines::{Gid, ShardId};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use super::config::ServerConfig;
use super::copy::{self, PieceStream};
use super::groups::{CONTROLLER_NAME, Groups, group_id};
use super::hosted::Hosted;
use super::masters::{PrimaryStream, Role};
use super::multiplex::{self, AnswerStream};
use super::nodes;
use super::outcome::{TIMEOUT, json, malformed, read_failed, rejected, status_of, timeout, unknown, write_failed};
use super::proto::change_request::Change;
use super::proto::quorate_server::{Quorate, QuorateServer};
use super::proto::{self, change_reply, read_request};
use super::queries::{self, QueryStream};
use super::views::{ViewStream, Views};
use crate::kv::{KvClient, Reach, ScanRange};
use crate::query::Queries;
use crate::served::Served;

/// The pause before a change is tried again that came too early.
const PAUSE: Duration = Duration::from_millis(50);

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

    /// Has the configuration log make a change, and gives the number of the configuration that counts now.
    async fn configure(&self, command: &Command) -> Result<u64, Status> {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        loop {
            match self.0.client.change(command, TIMEOUT).await.map_err(|error| status_of(&error))? {
                configlog::Reply::Done { number } => return Ok(number.0),
                // The first leader is about to write them down.
                configlog::Reply::Refused(Refusal::Nodes(NodeRefusal::NotBegun))
                    if tokio::time::Instant::now() < deadline =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                configlog::Reply::NotApplied { current } => {
                    return Err(rejected(Status::failed_precondition(format!(
                        "the current configuration is {current}"
                    ))));
                }
                configlog::Reply::Refused(refusal) => {
                    return Err(rejected(Status::failed_precondition(refusal.to_string())));
                }
            }
        }
    }

    async fn numbered(&self, command: &Command) -> Result<Response<proto::Numbered>, Status> {
        Ok(Response::new(proto::Numbered { number: self.configure(command).await? }))
    }

    async fn done(&self, command: &Command) -> Result<Response<proto::Done>, Status> {
        self.configure(command).await.map(|_| Response::new(proto::Done {}))
    }

    /// Who replicates what, as far as the nodes answer.
    async fn placements(&self) -> Result<nodes::Placements, Status> {
        let parts = &self.0;
        let book = parts.client.book(TIMEOUT).await.map_err(|error| status_of(&error))?;
        let config = parts.client.configuration(Query::Latest, TIMEOUT).await.map_err(|error| status_of(&error))?;
        Ok(nodes::placements(&parts.groups, book, config.unwrap_or_default()).await)
    }

    fn group(&self, name: &str) -> Result<Arc<dyn Hosted>, Status> {
        self.0.groups.any(name).ok_or_else(|| no_group(name))
    }

    fn machine(&self, name: &str) -> Result<Arc<dyn Hosted>, Status> {
        self.0.groups.fixed().machine(name).ok_or_else(|| no_group(name))
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

/// Refuses a group in which something moves. One that has settled cannot go on before the configuration log does.
async fn check_settled(name: &str, served: &Served<KvMachine>, number: u64, timeout: Duration) -> Result<(), Status> {
    let work = served.read(Consistency::Linearizable, &KvQuery::Work, timeout, 0).await;
    match work.map_err(|error| rejected(Status::unavailable(error.to_string())))?.answer {
        KvAnswer::Work(work) if work.settled && work.number.0 == number => Ok(()),
        _ => {
            let text = format!("group {name} has not settled at configuration {number}");
            Err(rejected(Status::failed_precondition(text)))
        }
    }
}

fn nowhere(name: &str) -> Status {
    rejected(Status::not_found(format!("{name} has no replica on this node")))
}

#[tonic::async_trait]
impl Quorate for Api {
    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetReply>, Status> {
        let proto::GetRequest { key, max_staleness_ms, timeout_ms } = request.into_inner();
        let (key, timeout): (Arc<str>, _) = (key.into(), timeout(timeout_ms));
        let (value, proof) = match max_staleness_ms {
            None => {
                let reply = self.0.client.get(&key, Consistency::Linearizable, timeout).await;
                reply.map(|reply| (reply.answer, reply.proof))
            }
            Some(bound) => self.0.client.get_bounded(&key, Duration::from_millis(bound), timeout).await,
        }
        .map_err(|error| status_of(&error))?;
        Ok(Response::new(proto::GetReply {
            value: value.map(|value| value.text().to_owned()),
            linearizable: proof.linearizable,
            staleness_ms: proof.staleness.map(|age| age.as_secs_f64() * 1000.0),
            served_by: proof.served_by.0,
        }))
    }

    async fn change(&self, request: Request<proto::ChangeRequest>) -> Result<Response<proto::ChangeReply>, Status> {
        let proto::ChangeRequest { key, change, session, timeout_ms } = request.into_inner();
        let key: Arc<str> = key.into();
        let op = match change.ok_or_else(|| rejected(Status::invalid_argument("a change of nothing")))? {
            Change::Put(value) => KvOp::Put { key, value: json(&value)? },
            Change::Append(value) => KvOp::Append { key, value: json(&value)? },
            Change::Delete(proto::Delete {}) => KvOp::Delete { key },
            Change::Cas(proto::Cas { from, to, create_if_not_exists }) => {
                KvOp::Cas { key, from: json(&from)?, to: json(&to)?, create_if_not_exists }
            }
        };
        let outcome = self.0.client.execute(op, stamp(session), timeout(timeout_ms)).await;
        let outcome = match outcome.map_err(|error| status_of(&error))? {
            Outcome::Put | Outcome::Appended | Outcome::Swapped | Outcome::Deleted { existed: true } => {
                change_reply::Outcome::Done
            }
            Outcome::Deleted { existed: false } => change_reply::Outcome::Absent,
            Outcome::Missing => change_reply::Outcome::Missing,
            Outcome::Different => change_reply::Outcome::Different,
            Outcome::NotAppendable => change_reply::Outcome::NotAppendable,
        };
        Ok(Response::new(proto::ChangeReply { outcome: outcome.into() }))
    }

    async fn scan(&self, request: Request<proto::ScanRequest>) -> Result<Response<proto::ScanReply>, Status> {
        let proto::ScanRequest { from, to, prefix, limit, timeout_ms } = request.into_inner();
        let text = |text: Option<String>| text.map(Arc::from);
        let range = ScanRange { from: text(from), to: text(to), prefix: text(prefix), limit };
        let page = self.0.client.scan(range, timeout(timeout_ms)).await.map_err(|error| status_of(&error))?;
        let item =
            |(key, value): (Arc<str>, Json)| proto::Item { key: key.to_string(), value: value.text().to_owned() };
        Ok(Response::new(proto::ScanReply { items: page.items.into_iter().map(item).collect(), more: page.more }))
    }

    type MultiplexStream = AnswerStream;

    async fn multiplex(&self, calls: Request<Streaming<proto::Calls>>) -> Result<Response<AnswerStream>, Status> {
        Ok(Response::new(multiplex::answer_all(self.clone(), calls.into_inner())))
    }

    async fn master(&self, request: Request<proto::MasterRequest>) -> Result<Response<proto::MasterReply>, Status> {
        self.role()?.answer(request.into_inner()).await.map(Response::new)
    }

    type WatchPrimaryStream = PrimaryStream;

    async fn watch_primary(
        &self,
        request: Request<proto::WatchPrimaryRequest>,
    ) -> Result<Response<PrimaryStream>, Status> {
        let after = request.into_inner().after_epoch;
        self.role()?.watch(after, self.0.ending.subscribe()).await.map(Response::new)
    }

    async fn masters(&self, _: Request<proto::MastersRequest>) -> Result<Response<proto::MastersReply>, Status> {
        let (known, beginning) = (self.0.groups.memory().book(), self.0.groups.beginning());
        let book = if known.is_begun() { &*known } else { beginning };
        Ok(Response::new(self.role()?.described(book).await))
    }

    async fn open_session(&self, request: Request<proto::OpenSessionRequest>) -> Result<Response<proto::Done>, Status> {
        let proto::OpenSessionRequest { group, client, timeout_ms } = request.into_inner();
        let opened = self.machine(&group)?.open_session(ClientId::new(client), timeout(timeout_ms)).await;
        opened.map(|()| Response::new(proto::Done {})).map_err(|error| write_failed(&error))
    }

    async fn write(&self, request: Request<proto::WriteRequest>) -> Result<Response<proto::WriteReply>, Status> {
        let proto::WriteRequest { group, command, session, timeout_ms } = request.into_inner();
        let options = WriteOptions { session: stamp(session), timeout: timeout(timeout_ms) };
        let written =
            self.machine(&group)?.write_bytes(&command, options).await.map_err(|error| write_failed(&error))?;
        Ok(Response::new(proto::WriteReply {
            reply: written.reply.into(),
            replayed: written.replayed,
            term: written.at.term.0,
            index: written.at.index.0,
        }))
    }

    async fn read(&self, request: Request<proto::ReadRequest>) -> Result<Response<proto::ReadReply>, Status> {
        let request = request.into_inner();
        let consistency = match (request.max_staleness_ms, request.consistency()) {
            (Some(bound), _) => Consistency::Bounded(Duration::from_millis(bound)),
            (None, read_request::Consistency::Linearizable) => Consistency::Linearizable,
            (None, read_request::Consistency::LinearizableHere) => Consistency::LinearizableHere,
            (None, read_request::Consistency::Lease) => Consistency::Lease,
            (None, read_request::Consistency::Local) => Consistency::Local,
        };
        let group = self.machine(&request.group)?;
        let reply = group.read_bytes(consistency, &request.query, timeout(request.timeout_ms)).await;
        let reply = reply.map_err(|error| read_failed(&error))?;
        Ok(Response::new(proto::ReadReply {
            answer: reply.answer.into(),
            linearizable: reply.proof.linearizable,
            staleness_ms: reply.proof.staleness.map(|age| age.as_secs_f64() * 1000.0),
            served_by: reply.proof.served_by.0,
            applied: reply.proof.applied.map(|index| index.0),
            redirected: reply.proof.redirected,
        }))
    }

    async fn tables(&self, _: Request<proto::TablesRequest>) -> Result<Response<proto::TablesReply>, Status> {
        Ok(Response::new(proto::TablesReply { groups: self.0.groups.fixed().tables().to_vec() }))
    }

    type QueryStream = QueryStream;

    async fn query(&self, request: Request<proto::QueryRequest>) -> Result<Response<QueryStream>, Status> {
        queries::answer(self.0.queries.as_ref(), &request.into_inner().body).await.map(Response::new)
    }

    type ViewStream = ViewStream;

    async fn view(&self, request: Request<proto::ViewRequest>) -> Result<Response<ViewStream>, Status> {
        let request = request.into_inner();
        let group = self.machine(&request.group)?;
        let shards = group.typed().downcast_ref::<Served<KvMachine>>();
        let shards = shards.ok_or_else(|| malformed(format!("group {} has no shards", request.group)))?;
        self.0.views.open(shards, self.0.node, request).await.map(Response::new)
    }

    async fn join(&self, request: Request<proto::JoinRequest>) -> Result<Response<proto::Numbered>, Status> {
        let proto::JoinRequest { groups, shards } = request.into_inner();
        let refused = |text: String| Err(rejected(Status::invalid_argument(text)));
        let mut joining = BTreeMap::new();
        for proto::Group { name, nodes } in groups {
            if name == CONTROLLER_NAME {
                return refused(format!("{name} is the configuration log's name"));
            }
            if nodes.is_empty() {
                return refused(format!("group {name} has no nodes"));
            }
            let gid = Gid::new(name);
            let fixed = self.0.groups.fixed().groups();
            if let Some(other) = fixed.iter().find(|other| other.name == *gid.0 || other.id == group_id(&gid)) {
                return refused(format!(
                    "group {gid} needs another name: the configuration has a group {}",
                    other.name
                ));
            }
            let same_id = |other: &Gid| *other != gid && group_id(other) == group_id(&gid);
            if let Some(other) = self.0.groups.known().all().keys().chain(joining.keys()).find(|other| same_id(other)) {
                return refused(format!("group {gid} needs another name: it is too like {other}"));
            }
            // The log refuses those that are none of the cluster's, once it knows them.
            let begun = self.0.groups.memory().book().is_begun();
            let beginning = &self.0.groups.beginning().nodes;
            if let Some(stranger) = nodes.iter().find(|node| !begun && !beginning.contains_key(&NodeId(**node))) {
                return refused(format!("{} is none of the cluster's nodes", NodeId(*stranger)));
            }
            let servers = nodes::servers(nodes);
            if joining.insert(gid.clone(), servers).is_some() {
                return refused(format!("group {gid} is named twice"));
            }
        }
        self.numbered(&Command::Join { groups: joining, shard_count: shards }).await
    }

    async fn leave(&self, request: Request<proto::LeaveRequest>) -> Result<Response<proto::Numbered>, Status> {
        let gids = request.into_inner().groups.into_iter().map(Gid::new).collect();
        self.numbered(&Command::Leave { gids }).await
    }

    async fn r#move(&self, request: Request<proto::MoveRequest>) -> Result<Response<proto::Numbered>, Status> {
        let proto::MoveRequest { shard, group } = request.into_inner();
        self.numbered(&Command::Move { shard: ShardId(shard), gid: Gid::new(group) }).await
    }

    async fn configuration(
        &self,
        _: Request<proto::ConfigurationRequest>,
    ) -> Result<Response<proto::ConfigurationReply>, Status> {
        let answer = self.0.client.configuration(Query::Latest, TIMEOUT).await.map_err(|error| status_of(&error))?;
        let config = answer.unwrap_or_default();
        let shard = |gid: &Option<Gid>| gid.as_ref().map(ToString::to_string).unwrap_or_default();
        let group = |(gid, servers): (&Gid, &Vec<String>)| proto::Group {
            name: gid.to_string(),
            nodes: servers.iter().filter_map(|name| server_node(name)).map(|node| node.0).collect(),
        };
        Ok(Response::new(proto::ConfigurationReply {
            number: config.number.0,
            shards: config.shards.iter().map(shard).collect(),
            groups: config.groups.iter().map(group).collect(),
        }))
    }

    async fn nodes(&self, _: Request<proto::NodesRequest>) -> Result<Response<proto::NodesReply>, Status> {
        let peers = self.0.transport.peers();
        let connected = |node: NodeId| node == self.0.node || peers.get(&node).is_some_and(|peer| peer.connected);
        Ok(Response::new(self.placements().await?.reply(connected)))
    }

    async fn add_node(&self, request: Request<proto::Node>) -> Result<Response<proto::Done>, Status> {
        let (node, addresses) = nodes::addressed(request.into_inner()).map_err(malformed)?;
        self.done(&Command::Nodes(NodeChange::Add { node, addresses })).await
    }

    async fn move_node(&self, request: Request<proto::Node>) -> Result<Response<proto::Done>, Status> {
        let (node, addresses) = nodes::addressed(request.into_inner()).map_err(malformed)?;
        self.done(&Command::Nodes(NodeChange::Readdress { node, addresses })).await
    }

    async fn remove_node(&self, request: Request<proto::RemoveNodeRequest>) -> Result<Response<proto::Done>, Status> {
        let node = NodeId(request.into_inner().id);
        // Not wanted is not enough: until its group has let it go, its vote may be needed.
        if let Some(group) = self.placements().await?.replicated_by(node) {
            let text = format!("{node} still replicates {group}: another node must take its place first");
            return Err(rejected(Status::failed_precondition(text)));
        }
        self.done(&Command::Nodes(NodeChange::Remove { node })).await
    }

    async fn replace_node(
        &self,
        request: Request<proto::ReplaceNodeRequest>,
    ) -> Result<Response<proto::Numbered>, Status> {
        let proto::ReplaceNodeRequest { old, new } = request.into_inner();
        self.numbered(&Command::Nodes(NodeChange::Replace { old: NodeId(old), new: NodeId(new) })).await
    }

    async fn place(&self, request: Request<proto::Group>) -> Result<Response<proto::Numbered>, Status> {
        let proto::Group { name, nodes } = request.into_inner();
        if nodes.is_empty() {
            return Err(malformed(format!("group {name} needs a node")));
        }
        let command = if name == CONTROLLER_NAME {
            Command::Nodes(NodeChange::Controllers { nodes: nodes.into_iter().map(NodeId).collect() })
        } else {
            Command::Place { gid: Gid::new(name), servers: nodes::servers(nodes) }
        };
        self.numbered(&command).await
    }

    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusReply>, Status> {
        Ok(Response::new(Api::status(self)))
    }

    async fn transfer(&self, request: Request<proto::TransferRequest>) -> Result<Response<proto::Done>, Status> {
        let proto::TransferRequest { group, to, timeout_ms } = request.into_inner();
        let change = AdminChange::Transfer(NodeId(to));
        match self.group(&group)?.change(change, timeout(timeout_ms)).await {
            Ok(()) => Ok(Response::new(proto::Done {})),
            Err(error @ AdminError::Rejected(_)) => Err(rejected(Status::failed_precondition(error.to_string()))),
            Err(error) => Err(unknown(Status::unknown(error.to_string()))),
        }
    }

    type CopyStream = PieceStream;

    async fn copy(&self, request: Request<proto::CopyRequest>) -> Result<Response<PieceStream>, Status> {
        let proto::CopyRequest { group: name, number, timeout_ms } = request.into_inner();
        let timeout = timeout(timeout_ms);
        let group = self.group(&name)?;
        if let (Some(number), Some(shards)) = (number, self.0.groups.known().get(&Gid::new(name.as_str()))) {
            check_settled(&name, &shards, number, timeout).await?;
        }
        let copied = group.copy(timeout).await.ok_or_else(|| nowhere(&name))?;
        let copied = copied.map_err(|error| rejected(Status::unavailable(error.to_string())))?;
        let Some(last) = copied.meta.last else {
            return Err(rejected(Status::failed_precondition(format!("there is nothing in group {name} yet"))));
        };
        Ok(Response::new(copy::pieces(copied, last)))
    }

    async fn snapshot(&self, request: Request<proto::SnapshotRequest>) -> Result<Response<proto::Done>, Status> {
        let name = request.into_inner().group;
        let taken = self.group(&name)?.snapshot(TIMEOUT).await.ok_or_else(|| nowhere(&name))?;
        taken.map(|()| Response::new(proto::Done {})).map_err(|error| unknown(Status::unknown(error.to_string())))
    }
}
