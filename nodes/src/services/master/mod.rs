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
use quorate_statemachines::master::MasterMachine;

use self::masters::Masters;
use self::request::Command;
use super::presence::inside;
use super::targets::{self, LeadersHit, Which};
use super::{FIRST_LEADER, ServiceOptions};
use crate::embedded::{EmbeddedGroup, World};
use crate::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

/// The name under which all masters are a target of faults.
const ALL: &str = "master";

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
    leaders_hit: LeadersHit,
}

impl Master {
    /// A service that has not been initialised.
    pub fn new(options: MasterOptions) -> Self {
        Master { options, masters: OnceLock::new(), leaders_hit: LeadersHit::default() }
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
        let world = self.options.world(names.len());
        let group = EmbeddedGroup::start(&world, names.len(), MasterMachine::new).await.map_err(targets::failed)?;
        let masters = Masters::new(names, group, &world, init.outbox, self.options);
        masters.start();
        masters.led(FIRST_LEADER).await;
        let _ = self.masters.set(masters);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let masters = self.masters()?;
        let nth = masters.nth(&call.dest).ok_or_else(|| ErrorReply::not_found(format!("no master {}", call.dest)))?;
        let life = masters.group().watch(nth).ok_or_else(|| targets::unknown(&call.dest))?;
        inside(life, call.deadline, masters.carry_out(nth, command, &call.src, call.deadline)).await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let masters = self.masters()?;
        let Fault { action, target } = fault;
        let hit = match masters.nth(&target) {
            Some(nth) => vec![nth],
            None => match targets::parse(&target) {
                (ALL, which) => self.leaders_hit.replicas(masters.group(), which, &target, action).await?,
                (_, Which::Whole | Which::Nth(_) | Which::Leader) => return Err(targets::unknown(&target)),
            },
        };
        for nth in hit {
            masters.group().fault(nth, targets::replica_fault(action)).await.map_err(targets::failed)?;
        }
        Ok(())
    }

    async fn shutdown(&self) {
        if let Some(masters) = self.masters.get() {
            masters.group().shutdown().await;
        }
    }
}
