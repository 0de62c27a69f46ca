//! A sharded store: proxies that route to its groups, and the controller that says which group serves which shard.
//!
//! Promises: a change of configuration is answered when it is committed; requests are served while the data follows.
//! In one process a group may be addressed itself: it answers for the shards that it serves.
//! Leaves out: moving the shards, which the groups' own drivers do.

mod controller;
mod proxy;
mod request;
mod running;
mod share;

use std::future::Future;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use quorate::GroupOptions;
use quorate_statemachines::Gid;
use tokio::time::Instant;

use self::request::Command;
pub(super) use self::request::shard_number;
use self::running::Running;
use self::share::Share;
use super::data::Client;
use super::late::Late;
use super::presence::inside;
use super::{ServiceOptions, left, no_faults, replica_group, targets, unusable};
use crate::distributed::{DistributedNode, DistributedOptions, Roster};
use crate::kv::{KvClient, Target};
use crate::stdio::peers::PeerMessage;
use crate::stdio::{Call, ErrorReply, Failure, Fault, Init, Outbox, Plan, Reply, Request, Service};

/// The name of the service where it is kept.
const WHAT: &str = "shardkv";

/// The service of the binary `shardkv`.
#[derive(Debug)]
pub struct ShardKv {
    options: ServiceOptions,
    /// How this process finds the others, if it is not all of the store.
    distributed: Option<DistributedOptions>,
    home: OnceLock<Late<Home>>,
}

/// Where the store is.
#[derive(Debug)]
enum Home {
    /// In this process, all of it.
    Embedded(Arc<Running>),
    /// In several processes.
    Distributed(Arc<Share>),
}

impl ShardKv {
    /// A service that has not been initialised, and will have all of the store in this process.
    pub fn new(options: ServiceOptions) -> Self {
        ShardKv { options, distributed: None, home: OnceLock::new() }
    }

    /// A service that has not been initialised, and will be the one node that `init` names.
    pub fn distributed(options: ServiceOptions, distributed: DistributedOptions) -> Self {
        ShardKv { options, distributed: Some(distributed), home: OnceLock::new() }
    }

    fn home(&self) -> Result<&Late<Home>, ErrorReply> {
        self.home.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

impl Home {
    async fn embedded(options: ServiceOptions, names: Vec<String>, failure: Failure) -> Result<Home, ErrorReply> {
        let replicas = options.replicas;
        let world = options.open(WHAT, names.clone(), Some(replicas), GroupOptions::default(), &failure).await?;
        let running = Running::start(world, replicas, names).await;
        Ok(Home::Embedded(running.map_err(|fatal| unusable(&failure, fatal))?))
    }

    /// Starts this process's node; waits for nobody.
    async fn distributed(
        options: DistributedOptions,
        roster: Roster,
        outbox: Outbox,
        failure: Failure,
    ) -> Result<Home, ErrorReply> {
        let node = DistributedNode::start(WHAT, roster, outbox, failure.clone(), &options, options.group()).await;
        let node = node.map_err(|fatal| unusable(&failure, fatal))?;
        Ok(Home::Distributed(Share::start(node, failure)))
    }
}

#[async_trait]
impl Service for ShardKv {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.shards)
    }

    fn hosts(&self, dest: &str) -> bool {
        match self.home.get().and_then(Late::now).as_deref() {
            Some(Home::Embedded(running)) => running.store.group(&Gid::new(dest)).is_some(),
            Some(Home::Distributed(_)) | None => false,
        }
    }

    fn hears_peers(&self) -> bool {
        self.distributed.is_some()
    }

    fn hear(&self, message: PeerMessage) {
        if let Some(Home::Distributed(share)) = self.home.get().and_then(Late::now).as_deref() {
            share.node().hear(&message);
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let (names, failure) = (init.node_ids()?, init.failure.clone());
        let home = match self.distributed.clone() {
            None => Late::start(&init, Home::embedded(self.options.clone(), names, failure)).await?,
            Some(options) => {
                let roster = Roster::of_all(&names, init.node_id()?).map_err(targets::failed)?;
                Late::start(&init, Home::distributed(options, roster, init.outbox.clone(), failure)).await?
            }
        };
        let _ = self.home.set(home);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        match &*self.home()?.by(call.deadline).await? {
            Home::Embedded(running) => match running.proxies.get(&*call.dest) {
                Some(proxy) => {
                    inside(proxy.watch(), call.deadline, async {
                        proxy.passes(call.deadline).await?;
                        let start_groups = || async {
                            // Those that do not run by the deadline are started all the same.
                            let _ = tokio::spawn(Arc::clone(running).start_groups()).await;
                        };
                        call_proxy(running.store.client(), command, call.deadline, start_groups).await
                    })
                    .await
                }
                None => call_group(running, command, call).await,
            },
            Home::Distributed(share) if *share.node().roster().name() == call.dest => {
                if let Command::Change(change) = &command {
                    share.check(change)?;
                }
                call_proxy(share.client(), command, call.deadline, || async {}).await
            }
            Home::Distributed(_) => {
                Err(ErrorReply::not_found(format!("no node {} here", call.dest)).reason("unknown_node"))
            }
        }
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        match self.home()?.now().as_deref() {
            Some(Home::Embedded(running)) => running.fault(fault).await,
            Some(Home::Distributed(_)) => Err(no_faults()),
            None => Err(targets::unknown(&fault.target)),
        }
    }

    async fn shutdown(&self) {
        match self.home.get().and_then(Late::now).as_deref() {
            Some(Home::Embedded(running)) => running.shutdown().await,
            Some(Home::Distributed(share)) => share.node().shutdown().await,
            None => {}
        }
    }
}

/// What any proxy does, however it finds the groups. After a change, `settle` is waited for.
async fn call_proxy<F: Future<Output = ()>>(
    client: &KvClient,
    command: Command,
    deadline: Instant,
    settle: impl FnOnce() -> F,
) -> Result<Reply, ErrorReply> {
    match command {
        Command::Data(data) => data.carry_out(Client::Routing(client), left(deadline)).await,
        Command::Change(change) => controller::change(client, change, deadline, async { settle().await }).await,
        Command::Query(number) => controller::query(client, number, left(deadline)).await,
        Command::GroupStatus => Err(ErrorReply::not_supported("a proxy has no shards; ask a group")),
    }
}

async fn call_group(running: &Running, command: Command, call: Call) -> Result<Reply, ErrorReply> {
    let gid = Gid::new(&*call.dest);
    let group = running.store.group(&gid).ok_or_else(|| targets::unknown(&call.dest))?;
    inside(group.watch_whole(), call.deadline, async {
        let (target, timeout) = (Target { gid: &gid, group: group.as_ref() }, left(call.deadline));
        match command {
            Command::Data(data) => data.carry_out(Client::Direct(&running.direct, target), timeout).await,
            Command::GroupStatus => {
                let name = |leader| replica_group::embedded_name(&gid, &group, leader);
                replica_group::status(&running.direct, target, name, timeout).await
            }
            Command::Change(_) | Command::Query(_) => {
                Err(ErrorReply::not_supported("a group does not decide on configurations; ask a proxy"))
            }
        }
    })
    .await
}
