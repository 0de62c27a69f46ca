//! Metadata masters: one primary that serves, and hot shadows that apply what it commits and take its place.
//!
//! Promises: a primary serves only once its epoch is committed; what an older primary still proposes changes nothing;
//! every chunk server and subscriber is told once of each new primary, and a heartbeat tells whoever missed it.
//! Leaves out: the data of chunks; which master a client should ask (a shadow names the primary).

mod changes;
mod failover;
mod heartbeats;
mod masters;
mod office;
mod questions;
mod refusals;
mod replies;
mod request;
mod standing;
mod status;
mod two;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use quorate::GroupOptions;
use quorate_statemachines::master::Office;

pub use self::masters::{Masters, Tell};
pub use self::request::Command;
use super::{ServiceOptions, targets};
use crate::embedded::World;
use crate::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

/// How masters run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterOptions {
    /// What all services have in common.
    pub service: ServiceOptions,
    /// A primary silent for so long is replaced, where no election does it sooner.
    pub failure_timeout: Duration,
    /// A chunk server silent for so long is lost.
    pub chunkserver_timeout: Duration,
    /// A shadow that hears nothing of the primary for a random time between half of this and this stands for election.
    pub election_timeout: Duration,
}

impl Default for MasterOptions {
    fn default() -> Self {
        MasterOptions {
            service: ServiceOptions::default(),
            failure_timeout: Duration::from_secs(10),
            chunkserver_timeout: Duration::from_secs(30),
            election_timeout: GroupOptions::default().election_timeout.1,
        }
    }
}

impl MasterOptions {
    fn world(&self, masters: usize) -> World {
        let upper = self.election_timeout;
        let defaults = GroupOptions::default();
        let options = GroupOptions {
            heartbeat: upper / 5,
            election_timeout: (upper / 2, upper),
            lease_margin: upper / 10,
            // What the rule for two of them rests on; the others need it not.
            flush_before_send: masters == 2,
            ..defaults
        };
        World::seeded(options, self.service.seed)
    }
}

/// The service of the binary `master`.
#[derive(Debug)]
pub struct Master {
    options: MasterOptions,
    masters: OnceLock<Arc<Masters>>,
}

impl Master {
    /// A service that has not been initialised.
    pub fn new(options: MasterOptions) -> Self {
        Master { options, masters: OnceLock::new() }
    }

    fn masters(&self) -> Result<&Arc<Masters>, ErrorReply> {
        self.masters.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

#[async_trait]
impl Service for Master {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.failure_timeout)
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let names = init.node_ids()?;
        let outbox = init.outbox;
        let tell = move |me: &str, who: &str, office: &Office| {
            let fields = Reply::new().field("primary", me).field("epoch", office.epoch.0);
            outbox.notify(me, who, "primary_changed", fields);
        };
        let masters = Masters::start(names, self.options, Box::new(tell)).await.map_err(targets::failed)?;
        let _ = self.masters.set(masters);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        self.masters()?.call(&call.dest, &call.src, command, call.deadline).await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        self.masters()?.fault(fault).await
    }

    async fn shutdown(&self) {
        if let Some(masters) = self.masters.get() {
            masters.shutdown().await;
        }
    }
}
