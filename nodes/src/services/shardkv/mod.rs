//! A sharded store: proxies that route to its groups, and the controller that says which group serves which shard.
//!
//! Promises: a change of configuration is answered when it is committed; requests are served while the data follows.
//! A group may be addressed itself: it answers for the shards that it serves.
//! Leaves out: moving the shards, which the groups' own drivers do.

mod controller;
mod proxy;
mod request;
mod running;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use quorate_statemachines::Gid;

use self::request::Command;
pub(super) use self::request::shard_number;
use self::running::Running;
use super::data::Client;
use super::presence::inside;
use super::{ServiceOptions, left, replica_group, targets};
use crate::kv::Target;
use crate::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

/// The service of the binary `shardkv`.
#[derive(Debug)]
pub struct ShardKv {
    options: ServiceOptions,
    running: OnceLock<Arc<Running>>,
}

impl ShardKv {
    /// A service that has not been initialised.
    pub fn new(options: ServiceOptions) -> Self {
        ShardKv { options, running: OnceLock::new() }
    }

    fn running(&self) -> Result<&Arc<Running>, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

#[async_trait]
impl Service for ShardKv {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.shards)
    }

    fn hosts(&self, dest: &str) -> bool {
        self.running.get().is_some_and(|running| running.store.group(&Gid::new(dest)).is_some())
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let running = Running::start(self.options, init.node_ids()?).await.map_err(targets::failed)?;
        let _ = self.running.set(running);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let running = self.running()?;
        match running.proxies.get(&*call.dest) {
            Some(proxy) => {
                inside(proxy.watch(), call.deadline, async {
                    proxy.passes(call.deadline).await?;
                    match command {
                        Command::Data(data) => {
                            data.carry_out(Client::Routing(running.store.client()), left(call.deadline)).await
                        }
                        Command::Change(change) => controller::change(running, change, call.deadline).await,
                        Command::Query(number) => controller::query(running, number, left(call.deadline)).await,
                        Command::GroupStatus => Err(ErrorReply::not_supported("a proxy has no shards; ask a group")),
                    }
                })
                .await
            }
            None => self.call_group(running, command, call).await,
        }
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        self.running()?.fault(fault).await
    }

    async fn shutdown(&self) {
        if let Some(running) = self.running.get() {
            running.shutdown().await;
        }
    }
}

impl ShardKv {
    async fn call_group(&self, running: &Running, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let gid = Gid::new(&*call.dest);
        let group = running.store.group(&gid).ok_or_else(|| targets::unknown(&call.dest))?;
        inside(group.watch_whole(), call.deadline, async {
            let (target, timeout) = (Target { gid: &gid, group: group.as_ref() }, left(call.deadline));
            match command {
                Command::Data(data) => data.carry_out(Client::Direct(&running.direct, target), timeout).await,
                Command::GroupStatus => replica_group::status(&running.direct, target, &group, timeout).await,
                Command::Change(_) | Command::Query(_) => {
                    Err(ErrorReply::not_supported("a group does not decide on configurations; ask a proxy"))
                }
            }
        })
        .await
    }
}
