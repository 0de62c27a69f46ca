//! Replica groups that are told their configurations one by one, and move shards among each other.
//!
//! Promises: configurations in order only; a shard is served by one group at a time, and moves while it is served.
//! Leaves out: who decides on configurations.

mod configs;
mod request;
mod status;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::future::{join_all, try_join_all};
use quorate_statemachines::Gid;

use self::request::Command;
pub(super) use self::status::status;
use super::data::Client;
use super::presence::inside;
use super::targets::{self, LeadersHit};
use super::{FIRST_LEADER, ServiceOptions, left};
use crate::embedded::World;
use crate::kv::{DirectClient, ShardGroups, StoreOptions, Target};
use crate::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

/// The service of the binary `replica_group`.
#[derive(Debug)]
pub struct ReplicaGroup {
    options: ServiceOptions,
    running: OnceLock<Running>,
}

#[derive(Debug)]
struct Running {
    groups: Arc<ShardGroups>,
    direct: DirectClient,
    leaders_hit: LeadersHit,
}

impl ReplicaGroup {
    /// A service that has not been initialised.
    pub fn new(options: ServiceOptions) -> Self {
        ReplicaGroup { options, running: OnceLock::new() }
    }

    fn running(&self) -> Result<&Running, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

impl Running {
    fn new(world: &World, options: ServiceOptions) -> Self {
        let options = StoreOptions { replicas: options.replicas, ..StoreOptions::default() };
        Running {
            groups: Arc::new(ShardGroups::new(world.clone(), &options, None)),
            direct: DirectClient::new(Arc::clone(world.env())),
            leaders_hit: LeadersHit::default(),
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
        self.running.get().is_some_and(|running| running.groups.get(&Gid::new(dest)).is_some())
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let running = Running::new(&self.options.world(), self.options);
        running.host(init.node_ids()?.into_iter().map(Gid::new).collect()).await?;
        let _ = self.running.set(running);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let running = self.running()?;
        let gid = Gid::new(&*call.dest);
        let group = running.groups.get(&gid).ok_or_else(|| targets::unknown(&call.dest))?;
        inside(group.watch_whole(), call.deadline, async {
            let target = Target { gid: &gid, group: group.as_ref() };
            match command {
                Command::Data(data) => {
                    data.carry_out(Client::Direct(&running.direct, target), left(call.deadline)).await
                }
                Command::Status => status(&running.direct, target, &group, left(call.deadline)).await,
                Command::Set(set) => {
                    configs::set(&running.direct, target, set, self.options.shards, call.deadline).await
                }
                Command::Update(update) => {
                    let update = update.seen_by(&gid)?;
                    running.host(update.others()).await?;
                    configs::update(&running.direct, target, update, self.options.shards, call.deadline).await
                }
            }
        })
        .await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let Running { groups, leaders_hit, .. } = self.running()?;
        let Fault { action, target } = fault;
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
        if let Some(running) = self.running.get() {
            running.groups.shutdown().await;
        }
    }
}
