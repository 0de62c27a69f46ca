//! One process of a scatter-gather system whose nodes are processes: a coordinator, or a replica of one shard.
//!
//! A node that is named as a shard's replica is one; any other is a coordinator. Any number of coordinators may share the
//! shards, if they name them alike.
//!
//! Promises: starts at once, whoever else is there yet: requests wait for shards that are not, within their time.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use quorate::env::{Env, RealEnv};
use quorate_nodes::distributed::DistributedOptions;
use quorate_nodes::kv::DirectClient;
use quorate_nodes::services::late::Late;
use quorate_nodes::services::unusable;
use quorate_nodes::stdio::peers::PeerMessage;
use quorate_nodes::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};
use quorate_statemachines::kv::Configure;
use quorate_statemachines::{ConfigNumber, ShardId};
use tokio::task::JoinSet;

use super::changes::Changes;
use super::request::{self, Command};
use super::running::SWEEP;
use super::statement;
use crate::apart::{Asker, Member, MemberOptions, RemoteShard, is_own};
use crate::data::ShardStore;
use crate::scatter::{Engine, EngineOptions, Shard};

/// Shards, and the names of the nodes that are their replicas.
pub type Peers = Vec<(String, Vec<String>)>;

/// The same with the names as they are used.
type Placed = Vec<(String, Vec<Arc<str>>)>;

/// What a process is, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScatterNodeOptions {
    /// The shard that this process has a replica of, whatever its name is.
    pub group: Option<String>,
    /// The shards whose replicas have other names than the shard itself.
    pub peers: Peers,
    /// How queries run, or a shard's parts of them.
    pub engine: EngineOptions,
    /// How long a query may wait for its turn and compute, besides the time of the shards.
    pub request_timeout: Duration,
    /// How replicas find each other, and what they keep.
    pub distributed: DistributedOptions,
}

/// The service of the binaries `coordinator` and `shard` where nodes are processes.
#[derive(Debug)]
pub struct ScatterNode {
    options: ScatterNodeOptions,
    role: OnceLock<Role>,
}

#[derive(Debug)]
enum Role {
    Coordinator { asker: Arc<Asker>, changes: Changes, _configuring: JoinSet<()> },
    Shard(Late<Arc<Member>>),
}

impl ScatterNode {
    /// A service that has not been initialised.
    pub fn new(options: ScatterNodeOptions) -> Self {
        ScatterNode { options, role: OnceLock::new() }
    }

    fn replicas(&self, shard: &str) -> Option<&Vec<String>> {
        self.options.peers.iter().find(|(name, _)| name == shard).map(|(_, nodes)| nodes)
    }

    /// The shard of which the node `own` is a replica, and all of these.
    fn membership(&self, own: &str, init: &Init) -> Result<Option<(String, Vec<String>)>, ErrorReply> {
        let Some(group) = &self.options.group else {
            let mut peers = self.options.peers.iter();
            return Ok(peers.find(|(_, nodes)| nodes.iter().any(|node| node == own)).cloned());
        };
        let replicas = match self.replicas(group) {
            Some(replicas) => replicas.clone(),
            None if init.fields().has("node_ids") => init.node_ids()?,
            None => vec![own.to_owned()],
        };
        if !replicas.iter().any(|replica| replica == own) {
            let text = format!("node {own:?} is none of the replicas of {group:?} by --peers");
            return Err(ErrorReply::malformed(text));
        }
        Ok(Some((group.clone(), replicas)))
    }

    /// The shards of a coordinator, in their order: those that `init` names, or all that it was told of.
    fn shards(&self, init: &Init) -> Result<Placed, ErrorReply> {
        let names = match init.fields().has("shards") || self.options.peers.is_empty() {
            true => request::shards(init.fields())?,
            false => self.options.peers.iter().map(|(name, _)| name.clone()).collect(),
        };
        let nodes = |name: String| {
            let nodes = self.replicas(&name).cloned().unwrap_or_else(|| vec![name.clone()]);
            (name, nodes.into_iter().map(Arc::from).collect())
        };
        Ok(names.into_iter().map(nodes).collect())
    }

    fn coordinator(&self, own: &str, init: &Init) -> Result<Role, ErrorReply> {
        // Drawn anew in each life, whatever the seed is: two of them must not have sessions of one name.
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        let asker = Asker::new(own, init.outbox.clone(), &env);
        let shards = self.shards(init)?;
        let count = u32::try_from(shards.len()).unwrap_or(u32::MAX);
        let client = Arc::new(DirectClient::new(Arc::clone(&env)));
        let (mut configuring, mut reached) = (JoinSet::new(), Vec::new());
        for (number, (name, nodes)) in (0..).map(ShardId).zip(shards) {
            let shard = RemoteShard::new(name, number, nodes, Arc::clone(&asker));
            let config = configuration(number, count);
            let (client, configured) = (Arc::clone(&client), Arc::clone(&shard));
            configuring.spawn(async move { configured.configure(&client, &config).await });
            reached.push(shard);
        }
        let named = |shard: &Arc<RemoteShard>| Shard::new(shard.name(), Arc::clone(shard) as Arc<_>);
        let engine = Engine::new(reached.iter().map(named).collect(), self.options.engine)
            .map_err(|error| ErrorReply::crash(format!("queries cannot be run: {error}")))?;
        let tables = reached.into_iter().map(|shard| (shard.name().to_owned(), shard as Arc<dyn ShardStore>)).collect();
        let changes = Changes::new(env, tables, Arc::new(engine), SWEEP);
        Ok(Role::Coordinator { asker, changes, _configuring: configuring })
    }

    async fn shard(&self, own: &str, init: &Init, shard: String, replicas: Vec<String>) -> Result<Role, ErrorReply> {
        let distinct: BTreeSet<&String> = replicas.iter().collect();
        if distinct.len() < replicas.len() {
            return Err(ErrorReply::malformed(format!("shard {shard:?} has a replica twice")));
        }
        let options = MemberOptions {
            shard,
            replicas,
            engine: self.options.engine,
            distributed: self.options.distributed.clone(),
        };
        let (own, outbox, failure) = (own.to_owned(), init.outbox.clone(), init.failure.clone());
        let starting = async move {
            let started = Member::start(&own, options, outbox, failure.clone()).await;
            started.map_err(|fatal| unusable(&failure, fatal))
        };
        Ok(Role::Shard(Late::start(init, starting).await?))
    }
}

/// The only configuration of a shard: that it is this one of so many.
fn configuration(shard: ShardId, shard_count: u32) -> Configure {
    Configure {
        number: ConfigNumber(1),
        previous: ConfigNumber(0),
        shards: BTreeSet::from([shard]),
        shard_count,
        sources: Default::default(),
        targets: Default::default(),
    }
}

#[async_trait]
impl Service for ScatterNode {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.request_timeout)
    }

    fn hears_peers(&self) -> bool {
        true
    }

    fn hear(&self, message: PeerMessage) {
        if let Some(Role::Shard(member)) = self.role.get()
            && let Some(member) = member.now()
        {
            member.hear_peer(&message);
        }
    }

    fn is_own(&self, kind: &str) -> bool {
        is_own(kind)
    }

    fn hear_own(&self, message: Request) {
        match self.role.get() {
            Some(Role::Coordinator { asker, .. }) => asker.hear(&message),
            Some(Role::Shard(member)) => {
                if let Some(member) = member.now() {
                    member.hear(&message);
                }
            }
            None => {}
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let own = init.node_id()?;
        let role = match self.membership(own, &init)? {
            Some((shard, replicas)) => self.shard(own, &init, shard, replicas).await?,
            None => self.coordinator(own, &init)?,
        };
        let _ = self.role.set(role);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let Command::Scatter(scatter) = command;
        match self.role.get() {
            Some(Role::Coordinator { changes, .. }) => statement(changes, scatter, &call).await,
            Some(Role::Shard(_)) => Err(ErrorReply::not_supported("statements are for a coordinator: this is a shard")),
            None => Err(ErrorReply::unavailable("not initialised").reason("not_initialised")),
        }
    }

    async fn fault(&self, _: Fault) -> Result<(), ErrorReply> {
        Err(ErrorReply::not_supported("faults are for a whole cluster in one process"))
    }

    async fn shutdown(&self) {
        if let Some(Role::Shard(member)) = self.role.get()
            && let Some(member) = member.now()
        {
            member.shutdown().await;
        }
    }
}
