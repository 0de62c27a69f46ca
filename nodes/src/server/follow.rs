//! Following the configuration log: the address book, and which replicas this node is to have.
//!
//! Promises: what the log says is done here, sooner or later, whatever this node missed meanwhile; a replica stays until its
//! group has committed that it goes, since until then the group may need its vote.
//! Leaves out: changing who replicates a group, which is its leader's work (see `keeper`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate::transport::grpc::GrpcTransport;
use quorate::{Consistency, Described, Fatal, GroupId, Index, NodeId, ReadError, Role, StateMachine, Term};
use quorate_statemachines::configlog::{Answer, Book, Command, Config, NodeChange, Query, server_node};
use quorate_statemachines::kv::KvMachine;
use quorate_statemachines::{ConfigNumber, Gid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::groups::{CONTROLLER, Groups, group_id};
use crate::kv::Reach;
use crate::served::Served;

/// How long one question to the configuration log may take, and how long one waits for news of it.
const ASK: Duration = Duration::from_secs(1);

/// How long one waits for others while the own replica knows no leader.
const ASK_LEADERLESS: Duration = Duration::from_millis(200);

/// A replica that has heard of no leader for so long may be cut off, or no part of its group any more.
const IN_TOUCH: Duration = Duration::from_secs(1);

/// How long a node that was removed is listened to, so that it can learn of it and end.
const LEARNS: Duration = Duration::from_secs(2);

/// The pause after the configuration log could not be asked.
const PAUSE: Duration = Duration::from_millis(50);

/// Follows the configuration log for this node.
pub(super) struct Follower {
    groups: Arc<Groups>,
    transport: Arc<GrpcTransport>,
    /// The newest configuration that was seen.
    at: ConfigNumber,
    /// Which other replica is asked.
    nth: usize,
    controllers: Placement,
    shards: BTreeMap<Gid, (Placement, Arc<Served<KvMachine>>)>,
    /// Since when nodes are known to be removed.
    removed: BTreeMap<NodeId, Instant>,
}

/// Where a group is.
struct Placement {
    id: GroupId,
    /// The nodes that make it.
    founders: BTreeSet<NodeId>,
    wanted: watch::Sender<BTreeSet<NodeId>>,
    /// All nodes that were ever to have it: one of those still has it while the others do not have it yet.
    named: BTreeSet<NodeId>,
    /// What the leader has said while the replica here was to go.
    said: Option<Said>,
}

/// A leader of a group, seen without this node among its replicas.
#[derive(Clone, Copy, Debug)]
struct Said {
    leader: NodeId,
    term: Term,
    last: Option<Index>,
}

impl Placement {
    fn new(id: GroupId, founders: BTreeSet<NodeId>) -> Self {
        let (wanted, named) = (watch::Sender::new(founders.clone()), founders.clone());
        Placement { id, founders, wanted, named, said: None }
    }

    fn want(&mut self, nodes: BTreeSet<NodeId>) {
        self.named.extend(&nodes);
        self.wanted.send_if_modified(|wanted| {
            let changed = *wanted != nodes;
            *wanted = nodes;
            changed
        });
    }

    /// Whom to ask: those that are wanted, then those that may still be.
    fn order(&self, book: &Book) -> Vec<NodeId> {
        let wanted = self.wanted.borrow().clone();
        let others = self.named.iter().filter(|node| !wanted.contains(node) && !book.removed.contains(node));
        wanted.iter().chain(others).copied().collect()
    }

    fn wants(&self, node: NodeId) -> bool {
        self.wanted.borrow().contains(&node)
    }
}

fn nodes_of(servers: &[String]) -> BTreeSet<NodeId> {
    servers.iter().filter_map(|name| server_node(name)).collect()
}

/// Tells the transport where the peers of `node` are.
pub(super) fn add_peers(transport: &GrpcTransport, node: NodeId, book: &Book) {
    for (peer, addresses) in book.nodes.iter().filter(|(peer, _)| **peer != node) {
        transport.add_peer(*peer, addresses.peer.clone());
    }
}

impl Follower {
    /// Starts the configuration log's replica, if this node has one.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub(super) async fn start(groups: Arc<Groups>, transport: Arc<GrpcTransport>, founds: bool) -> Result<Self, Fatal> {
        let controllers = Placement::new(CONTROLLER, groups.beginning().controllers.clone());
        let (at, nth, shards, removed) = Default::default();
        let mut follower = Follower { groups, transport, at, nth, controllers, shards, removed };
        follower.place_controllers(founds).await?;
        Ok(follower)
    }

    /// Follows for ever.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start, or this node is no part of the cluster any more.
    pub(super) async fn run(mut self) -> Fatal {
        loop {
            let known = (self.at, self.groups.memory().book());
            let seen = match self.learn().await {
                Ok(seen) => seen,
                Err(Stop::Failed(error)) => {
                    tracing::debug!(%error, "the configuration log does not answer");
                    self.nth += 1;
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(Stop::Fatal(fatal)) => return fatal,
            };
            if let Err(fatal) = self.act().await {
                return fatal;
            }
            let learnt = known != (self.at, self.groups.memory().book());
            let news = self.groups.configs().changed(seen, ASK).await > seen;
            if !(news && learnt) {
                // The one that was asked may be behind the others, for good.
                self.nth += 1;
            }
            if news && !learnt {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Learns what the log has that is new; gives the index up to which it was asked.
    async fn learn(&mut self) -> Result<Option<Index>, Stop> {
        let seen = loop {
            let (answer, applied) = self.ask(Query::After(self.at)).await?;
            match answer.config() {
                Some(config) => self.note(&config)?,
                None => break applied,
            }
        };
        let (answer, _) = self.ask(Query::Book).await?;
        if let Some(book) = answer.book() {
            self.groups.memory().take_book(book)?;
        }
        Ok(seen)
    }

    /// Asks the own replica if it is in touch with the others, else one of them.
    async fn ask(&self, query: Query) -> Result<(Answer, Option<Index>), ReadError> {
        let configs = self.groups.configs();
        let own = configs.here();
        let reply = match &own {
            Some(group) if self.groups.is_in_touch(group, IN_TOUCH) => {
                group.read(Consistency::Local, &query, ASK).await?
            }
            _ => {
                let patience = if own.is_some() { ASK_LEADERLESS } else { ASK };
                configs.remote().read(Consistency::Local, &query, patience, Some(self.nth)).await?
            }
        };
        Ok((reply.answer, reply.proof.applied))
    }

    /// Gets to know the groups of a configuration, and where they are wanted.
    fn note(&mut self, config: &Config) -> Result<(), Fatal> {
        for (gid, servers) in &config.groups {
            let nodes = nodes_of(servers);
            if let Some((placement, _)) = self.shards.get_mut(gid) {
                placement.want(nodes);
                continue;
            }
            let id = group_id(gid);
            if let Some(other) = self.shards.keys().find(|other| group_id(other) == id) {
                return Err(Fatal(format!("groups {gid} and {other} have the same id: one must have another name")));
            }
            let served = self.groups.elsewhere(id, nodes.clone());
            self.groups.known().insert(gid.clone(), Arc::clone(&served));
            self.shards.insert(gid.clone(), (Placement::new(id, nodes), served));
        }
        self.at = config.number;
        Ok(())
    }

    /// Does what is to be done here for what was learnt.
    async fn act(&mut self) -> Result<(), Fatal> {
        let (groups, book) = (Arc::clone(&self.groups), self.groups.memory().book());
        let node = groups.node();
        if book.removed.contains(&node) {
            return Err(Fatal(format!("{node} was removed from the cluster")));
        }
        add_peers(&self.transport, node, &book);
        self.banish(&book);
        self.begin_book(&book).await;
        self.place_controllers(false).await?;
        for (gid, (placement, served)) in &mut self.shards {
            if let Some(servers) = book.left.get(gid) {
                placement.want(nodes_of(servers));
            }
            served.remote().set_nodes(placement.order(&book));
            let wanted = placement.wants(node);
            served.leaves(!wanted);
            match served.running() {
                None if wanted || groups.has_files(placement.id) => {
                    let founders = placement.founders.contains(&node).then(|| placement.founders.clone());
                    groups.host_shards(gid, served, founders, placement.wanted.subscribe()).await?;
                    served.leaves(!wanted);
                }
                None => groups.clear(placement.id).await?,
                Some(_) if wanted => placement.said = None,
                Some(_) if let_go(node, served, placement).await => groups.drop_replica(placement.id, served).await?,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Has no more to do with nodes that were removed, once they could learn of it.
    fn banish(&mut self, book: &Book) {
        for removed in &book.removed {
            let since = self.removed.entry(*removed).or_insert_with(Instant::now);
            if since.elapsed() >= LEARNS {
                self.transport.banish(*removed);
            }
        }
    }

    /// Writes the cluster's first nodes into the log if nobody has.
    async fn begin_book(&self, book: &Book) {
        let own = self.groups.configs().here();
        let leads = own.is_some_and(|group| group.watch().borrow().leader == Some(self.groups.node()));
        if !leads || book.is_begun() {
            return;
        }
        let Book { nodes, controllers, .. } = self.groups.beginning().clone();
        let begin = Command::Nodes(NodeChange::Begin { nodes, controllers });
        // Whether it was carried out, the log will tell.
        if let Err(error) = self.groups.configs().write(&begin, ASK, 0).await {
            tracing::debug!(%error, "the cluster's nodes are not written down yet");
        }
    }

    /// Sees to the configuration log's own replica. With `founds`, this node is one of those that make the log.
    async fn place_controllers(&mut self, founds: bool) -> Result<(), Fatal> {
        let (groups, book) = (Arc::clone(&self.groups), self.groups.memory().book());
        let (node, placement, served) = (groups.node(), &mut self.controllers, groups.configs());
        if book.is_begun() {
            placement.want(book.controllers.clone());
        }
        served.remote().set_nodes(placement.order(&book));
        let wanted = placement.wants(node) && (book.is_begun() || founds);
        served.leaves(!wanted && book.is_begun());
        match served.running() {
            None if wanted || groups.has_files(CONTROLLER) => {
                let founders = founds.then(|| placement.founders.clone());
                groups.host_configs(founders, placement.wanted.subscribe()).await?;
                served.leaves(!wanted && book.is_begun());
            }
            None => groups.clear(CONTROLLER).await?,
            Some(_) if wanted || !book.is_begun() => placement.said = None,
            Some(_) if let_go(node, served, placement).await => groups.drop_replica(CONTROLLER, served).await?,
            Some(_) => {}
        }
        Ok(())
    }
}

/// Why a round ended early.
enum Stop {
    Failed(ReadError),
    Fatal(Fatal),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Stop::Failed(error)
    }
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Stop::Fatal(fatal)
    }
}

/// Whether the group has committed that `node` replicates it no more.
///
/// A leader that acts on a membership without `node`, and later has applied all that it had in its log then, in the same term,
/// has committed that membership.
async fn let_go<M: StateMachine>(node: NodeId, served: &Served<M>, placement: &mut Placement) -> bool {
    let wanted = placement.wanted.borrow().clone();
    let asked = wanted.iter().map(|other| served.remote().describe(*other, ASK_LEADERLESS));
    let leads = |known: &Described| known.role == Role::Leader;
    let answers = futures::future::join_all(asked).await;
    let Some(now) = answers.into_iter().filter_map(Result::ok).filter(leads).max_by_key(|known| known.term) else {
        return false;
    };
    if now.membership.contains(node) || now.membership.voters.len() != 1 {
        placement.said = None;
        return false;
    }
    match placement.said {
        Some(said) if said.leader == now.node && said.term == now.term => now.applied >= said.last,
        _ => {
            placement.said = Some(Said { leader: now.node, term: now.term, last: now.last });
            false
        }
    }
}
