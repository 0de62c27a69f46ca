//! Replica groups that are told their configurations one by one, and move shards among each other.
//!
//! Promises: configurations in order only; a shard is served by one group at a time, and moves while it is served.
//! Leaves out: who decides on configurations.

mod configs;
mod member;
mod request;
mod status;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use quorate::{Fatal, GroupOptions, NodeId};
use quorate_statemachines::Gid;
use tokio::time::Instant;

use self::member::{Member, MemberPlan};
use self::request::{Command, Update};
pub(super) use self::status::{embedded_name, status};
use super::data::Client;
use super::late::Late;
use super::presence::inside;
use super::targets::{self, LeadersHit};
use super::{FIRST_LEADER, ServiceOptions, left, no_faults, unusable};
use crate::distributed::DistributedOptions;
use crate::embedded::World;
use crate::kv::{DirectClient, ShardGroups, StoreOptions, Target};
use crate::stdio::peers::PeerMessage;
use crate::stdio::{Call, ErrorReply, Failure, Fault, Init, Plan, Reply, Request, Service};

/// The other groups that shards come from and go to, and the names of their nodes.
pub type ReplicaGroupPeers = BTreeMap<Gid, Vec<String>>;

/// Reads `g2=n4,n5,n6`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_peers(text: &str) -> Result<(Gid, Vec<String>), String> {
    let (gid, names) = text.split_once('=').ok_or("a group and its nodes: g2=n4,n5,n6")?;
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    if gid.is_empty() || names.iter().any(String::is_empty) {
        return Err("a group or a node without a name".into());
    }
    Ok((Gid::new(gid), names))
}

/// One group of which each process is a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaGroupMember {
    /// The group.
    pub group: Gid,
    /// The others.
    pub peers: ReplicaGroupPeers,
    /// How this process finds other nodes.
    pub distributed: DistributedOptions,
}

/// The service of the binary `replica_group`.
#[derive(Debug)]
pub struct ReplicaGroup {
    options: ServiceOptions,
    /// What this process is, if it is not all groups.
    member: Option<ReplicaGroupMember>,
    home: OnceLock<Late<Home>>,
}

/// Where the groups are.
#[derive(Debug)]
enum Home {
    /// In this process, all of them.
    Embedded(Running),
    /// In several processes; this one has a replica of one of them.
    Distributed(Member),
}

#[derive(Debug)]
struct Running {
    groups: Arc<ShardGroups>,
    direct: DirectClient,
    leaders_hit: LeadersHit,
    world: World,
}

impl ReplicaGroup {
    /// A service that has not been initialised, and will have all groups in this process.
    pub fn new(options: ServiceOptions) -> Self {
        ReplicaGroup { options, member: None, home: OnceLock::new() }
    }

    /// A service that has not been initialised, and will be the one replica that `init` names.
    pub fn distributed(options: ServiceOptions, member: ReplicaGroupMember) -> Self {
        ReplicaGroup { options, member: Some(member), home: OnceLock::new() }
    }

    fn home(&self) -> Result<&Late<Home>, ErrorReply> {
        self.home.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }

    /// What a group is asked, wherever it is. `prepare` does what is to be done before a
    /// configuration, or refuses it.
    async fn carry_out(
        &self,
        command: Command,
        client: &DirectClient,
        target: Target<'_>,
        leader_name: impl Fn(NodeId) -> Option<String>,
        prepare: impl AsyncFnOnce(Update) -> Result<(), ErrorReply>,
        deadline: Instant,
    ) -> Result<Reply, ErrorReply> {
        match command {
            Command::Data(data) => data.carry_out(Client::Direct(client, target), left(deadline)).await,
            Command::Status => status(client, target, leader_name, left(deadline)).await,
            Command::Set(set) => configs::set(client, target, set, self.options.shards, deadline).await,
            Command::Update(update) => {
                let update = update.seen_by(target.gid)?;
                prepare(update.clone()).await?;
                configs::update(client, target, update, self.options.shards, deadline).await
            }
        }
    }
}

impl Running {
    async fn start(options: ServiceOptions, names: Vec<String>, failure: Failure) -> Result<Home, ErrorReply> {
        let (replicas, group) = (options.replicas, GroupOptions::default());
        let world = options.open("replica_group", names.clone(), Some(replicas), group, &failure).await?;
        let running = Running::new(world, replicas);
        // Those that were only ever named by a configuration go on too.
        let gids = names.into_iter().map(Gid::new).chain(running.groups.kept()).collect();
        match running.host(gids).await {
            Ok(()) => Ok(Home::Embedded(running)),
            Err(error) => Err(unusable(&failure, Fatal(error.text))),
        }
    }

    fn new(world: World, replicas: usize) -> Self {
        let options = StoreOptions { replicas, ..StoreOptions::default() };
        Running {
            groups: Arc::new(ShardGroups::new(world.clone(), &options, None)),
            direct: DirectClient::new(Arc::clone(world.env())),
            leaders_hit: LeadersHit::default(),
            world,
        }
    }

    /// Starts groups, in a task of its own: one that is half started must not be given up.
    async fn host(&self, gids: Vec<Gid>) -> Result<(), ErrorReply> {
        let groups = Arc::clone(&self.groups);
        let hosted = tokio::spawn(async move {
            groups.ensure(gids.clone()).await?;
            join_all(gids.iter().filter_map(|gid| groups.get(gid)).map(|group| async move {
                group.led(FIRST_LEADER).await;
            }))
            .await;
            Ok(())
        });
        match hosted.await {
            Ok(result) => result.map_err(targets::failed),
            Err(error) => Err(ErrorReply::crash(error.to_string())),
        }
    }
}

#[async_trait]
impl Service for ReplicaGroup {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request)
    }

    fn hosts(&self, dest: &str) -> bool {
        match self.home.get().and_then(Late::now).as_deref() {
            Some(Home::Embedded(running)) => running.groups.get(&Gid::new(dest)).is_some(),
            Some(Home::Distributed(member)) => member.is_asked(dest),
            None => false,
        }
    }

    fn hears_peers(&self) -> bool {
        self.member.is_some()
    }

    fn hear(&self, message: PeerMessage) {
        if let Some(Home::Distributed(member)) = self.home.get().and_then(Late::now).as_deref() {
            member.node().hear(&message);
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let failure = init.failure.clone();
        let home = match self.member.clone() {
            None => Late::start(&init, Running::start(self.options.clone(), init.node_ids()?, failure)).await?,
            Some(options) => {
                let plan = MemberPlan::new(options, &init)?;
                let starting = async move { plan.start().await.map(Home::Distributed) };
                Late::start(&init, starting).await?
            }
        };
        let _ = self.home.set(home);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        match &*self.home()?.by(call.deadline).await? {
            Home::Embedded(running) => {
                let gid = Gid::new(&*call.dest);
                let group = running.groups.get(&gid).ok_or_else(|| targets::unknown(&call.dest))?;
                let target = Target { gid: &gid, group: group.as_ref() };
                let name = |leader| embedded_name(&gid, &group, leader);
                let prepare = async |update: Update| running.host(update.others()).await;
                let answer = self.carry_out(command, &running.direct, target, name, prepare, call.deadline);
                inside(group.watch_whole(), call.deadline, answer).await
            }
            Home::Distributed(member) if member.is_asked(&call.dest) => {
                let name = |leader| member.name_of(leader);
                let prepare = async |update: Update| member.check(&update);
                let (client, target) = (member.direct(), member.target()?);
                self.carry_out(command, client, target, name, prepare, call.deadline).await
            }
            Home::Distributed(_) => {
                Err(ErrorReply::not_found(format!("no node {} here", call.dest)).reason("unknown_node"))
            }
        }
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let Fault { action, target } = fault;
        let home = self.home()?.now().ok_or_else(|| targets::unknown(&target))?;
        let Home::Embedded(Running { groups, leaders_hit, .. }) = &*home else { return Err(no_faults()) };
        let whole = Gid::new(&*target);
        let (gid, which) = match groups.get(&whole) {
            Some(_) => (whole, targets::Which::Whole),
            None => {
                let (name, which) = targets::parse(&target);
                (Gid::new(name), which)
            }
        };
        let group = groups.get(&gid).ok_or_else(|| targets::unknown(&target))?;
        let hit = leaders_hit.replicas(&group, which, &target, action).await?;
        let faults = hit.into_iter().map(|nth| groups.fault(&gid, nth, targets::replica_fault(action)));
        try_join_all(faults).await.map_err(targets::failed)?;
        Ok(())
    }

    async fn shutdown(&self) {
        match self.home.get().and_then(Late::now).as_deref() {
            Some(Home::Embedded(running)) => {
                running.groups.shutdown().await;
                running.world.close().await;
            }
            Some(Home::Distributed(member)) => member.node().shutdown().await,
            None => {}
        }
    }
}
