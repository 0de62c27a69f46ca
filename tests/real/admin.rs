//! What an operator asks of a cluster: any of its nodes, one after the other, until one answers.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use quorate_nodes::server::proto::copy_piece::Piece;
use quorate_nodes::server::proto::quorate_client::QuorateClient;
use quorate_nodes::server::proto::{
    ConfigurationReply, ConfigurationRequest, CopyRequest, Group, JoinRequest, MoveRequest, Node, NodesReply,
    NodesRequest, Placement, RemoveNodeRequest, ReplaceNodeRequest, Replica, StatusRequest, TransferRequest,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::nodes::Nodes;

/// How long one node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a change may take until it is done: a node may have to start first, on a busy machine.
const DONE: Duration = Duration::from_secs(120);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How many shards the keys are in.
pub(crate) const SHARDS: u32 = 8;

/// How many nodes a group has, if there are so many.
const REPLICAS: usize = 3;

/// The groups that shards move between.
pub(crate) const GROUPS: [&str; 2] = ["g1", "g2"];

/// The group of the configuration log.
pub(crate) const CONTROLLER: &str = "controller";

type Client = QuorateClient<Channel>;

/// An operator, who knows where the nodes are.
#[derive(Clone, Debug)]
pub(crate) struct Admin(BTreeMap<u64, Client>);

impl Admin {
    /// One of the cluster that has its nodes here. Nothing is connected before it is used.
    pub(crate) fn new(addresses: &BTreeMap<u64, String>) -> anyhow::Result<Admin> {
        let client = |(id, address): (&u64, &String)| {
            let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
            Ok((*id, QuorateClient::new(endpoint.connect_lazy())))
        };
        Ok(Admin(addresses.iter().map(client).collect::<anyhow::Result<_>>()?))
    }

    /// What the first node says that answers.
    async fn ask<T>(&self, question: impl AsyncFn(Client) -> Result<Response<T>, Status>) -> anyhow::Result<T> {
        let mut last = "there is no node".to_owned();
        for client in self.0.values() {
            match timeout(PATIENCE, question(client.clone())).await {
                Ok(Ok(reply)) => return Ok(reply.into_inner()),
                Ok(Err(status)) => last = status.message().to_owned(),
                Err(_) => last = format!("no answer within {PATIENCE:?}"),
            }
        }
        bail!("no node answers: {last}")
    }

    /// Who serves what.
    pub(crate) async fn configuration(&self) -> anyhow::Result<ConfigurationReply> {
        self.ask(async |mut client| client.configuration(ConfigurationRequest {}).await).await
    }

    async fn nodes(&self) -> anyhow::Result<NodesReply> {
        self.ask(async |mut client| client.nodes(NodesRequest {}).await).await
    }

    /// The nodes that replicate the configuration log.
    pub(crate) async fn controllers(&self) -> anyhow::Result<Vec<u64>> {
        let groups = self.nodes().await?.groups;
        Ok(groups.into_iter().find(|group| group.group == CONTROLLER).map(|group| group.wanted).unwrap_or_default())
    }

    /// What each node that answers says of its own replica of a group.
    async fn replicas(&self, group: &str) -> Vec<(u64, Replica)> {
        let ask = |(id, client): (&u64, &Client)| {
            let (id, mut client) = (*id, client.clone());
            async move {
                let status = timeout(PATIENCE / 2, client.status(StatusRequest {})).await.ok()?.ok()?.into_inner();
                Some((id, status.replicas.into_iter().find(|replica| replica.group == group)?))
            }
        };
        futures::future::join_all(self.0.iter().map(ask)).await.into_iter().flatten().collect()
    }

    /// The node that leads a group, as it says itself: the one of the newest term, if several say so.
    pub(crate) async fn leader(&self, group: &str) -> Option<u64> {
        let replicas = self.replicas(group).await;
        let leaders = replicas.into_iter().filter(|(id, replica)| replica.leader == Some(*id));
        leaders.max_by_key(|(_, replica)| replica.term).map(|(id, _)| id)
    }

    /// Asks the groups' leaders to let a node lead. It need not come to that.
    pub(crate) async fn transfer_all(&self, to: u64) {
        for group in GROUPS.into_iter().chain([CONTROLLER]) {
            let request = TransferRequest { group: group.to_owned(), to, timeout_ms: 1000 };
            let leader = self.leader(group).await.filter(|leader| *leader != to);
            if let Some(mut client) = leader.and_then(|leader| self.0.get(&leader).cloned()) {
                // The group may be without the node, or the node without the last entries.
                let _ = timeout(PATIENCE, client.transfer(request)).await;
            }
        }
    }

    /// Has the groups join a cluster whose nodes have just been started, and waits until they have.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn join(&self) -> anyhow::Result<()> {
        let ids: Vec<u64> = self.0.keys().copied().collect();
        let group = |(nth, name): (usize, &&str)| {
            let nodes = ids.iter().cycle().skip(nth * 2).take(ids.len().min(REPLICAS)).copied().collect();
            Group { name: (*name).to_owned(), nodes }
        };
        let join = JoinRequest { groups: GROUPS.iter().enumerate().map(group).collect(), shards: SHARDS };
        until(async || {
            if self.configuration().await?.number > 0 {
                return Ok(Some(()));
            }
            self.ask(async |mut client| client.join(join.clone()).await).await?;
            Ok(None)
        })
        .await
    }

    /// Asks that a shard be moved to a group.
    ///
    /// # Errors
    /// When nobody said that it will be.
    pub(crate) async fn move_shard(&self, shard: u32, group: &str) -> anyhow::Result<()> {
        let request = MoveRequest { shard, group: group.to_owned() };
        self.ask(async |mut client| client.r#move(request.clone()).await).await.map(drop)
    }

    /// Adds a node to the cluster. It is to be started then.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn add_node(&self, id: u64, peer: String, client: String) -> anyhow::Result<()> {
        let node = Node { id, peer, client, http: None };
        until(async || {
            if self.nodes().await?.nodes.iter().any(|member| member.node.as_ref().is_some_and(|node| node.id == id)) {
                return Ok(Some(()));
            }
            self.ask(async |mut client| client.add_node(node.clone()).await).await?;
            Ok(None)
        })
        .await
    }

    /// Has a node take the place of another one, which may be dead and is no part of the cluster then.
    ///
    /// # Errors
    /// When that takes too long.
    pub(crate) async fn replace_node(&self, old: u64, new: u64) -> anyhow::Result<()> {
        let takes_part = |placement: &Placement, node: u64| {
            [&placement.wanted, &placement.voters, &placement.learners].iter().any(|nodes| nodes.contains(&node))
        };
        until(async || {
            let groups = self.nodes().await?.groups;
            if groups.iter().any(|group| group.wanted.contains(&old)) {
                self.ask(async |mut client| client.replace_node(ReplaceNodeRequest { old, new }).await).await?;
            }
            let is_done = |group: &Placement| !takes_part(group, old) && group.settled;
            Ok(groups.iter().all(is_done).then_some(()))
        })
        .await?;
        until(async || {
            if self.nodes().await?.removed.contains(&old) {
                return Ok(Some(()));
            }
            self.ask(async |mut client| client.remove_node(RemoveNodeRequest { id: old }).await).await?;
            Ok(None)
        })
        .await
    }

    /// A group's content once it has settled at a configuration, from a node that has it.
    ///
    /// # Errors
    /// When it has not settled, or no node gives it.
    pub(crate) async fn copy(&self, group: &str, number: u64) -> anyhow::Result<Vec<u8>> {
        let request = CopyRequest { group: group.to_owned(), number: Some(number), timeout_ms: 2000 };
        let mut last = "no node has it".to_owned();
        for client in self.0.values() {
            let mut client = client.clone();
            let copy = async {
                let mut pieces = client.copy(request.clone()).await?.into_inner();
                let (mut content, mut whole) = (Vec::new(), false);
                while let Some(message) = pieces.message().await? {
                    match message.piece {
                        Some(Piece::Content(piece)) => content.extend(piece),
                        Some(Piece::End(end)) => whole = end.bytes == content.len() as u64,
                        Some(Piece::Begin(_)) | None => {}
                    }
                }
                if whole { Ok(content) } else { Err(Status::data_loss("the copy came short")) }
            };
            match timeout(5 * PATIENCE, copy).await {
                Ok(Ok(content)) => return Ok(content),
                Ok(Err(status)) => last = status.message().to_owned(),
                Err(_) => last = "no answer".to_owned(),
            }
        }
        bail!("{group} cannot be copied: {last}")
    }
}

/// Does something until something comes of it.
///
/// # Errors
/// What went wrong last, when that takes too long.
pub(crate) async fn until<T>(step: impl AsyncFn() -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        let last = match step().await {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => String::new(),
            Err(error) => format!(": {error:#}"),
        };
        if begun.elapsed() > DONE {
            bail!("not done after {DONE:?}{last}");
        }
        sleep(LOOK).await;
    }
}

/// A node takes the place of another one, which is dead: it is described, added, started, and given all that the other had.
///
/// # Errors
/// When it cannot be started. That it takes too long is noted.
pub(crate) async fn replace(nodes: &mut Nodes, old: u64, new: u64) -> anyhow::Result<()> {
    let others = nodes.clients().into_iter().filter(|(id, _)| *id != old).collect();
    let admin = Admin::new(&others)?;
    let controllers = admin.controllers().await.unwrap_or_default();
    let controllers = controllers.into_iter().filter(|id| *id != old).collect();
    nodes.describe_another(new, controllers).await?;
    let Some((peer, client)) = nodes.addresses(new) else { return Ok(()) };
    let done = async {
        admin.add_node(new, peer.to_string(), client.to_string()).await?;
        nodes.start(new)?;
        admin.replace_node(old, new).await
    };
    let done = done.await;
    match done {
        Ok(()) => nodes.forget(old).await,
        Err(error) => nodes.wrongs.push(format!("n{new} did not take the place of n{old}: {error:#}")),
    }
    Ok(())
}
