//! One group of replicas that hold registers, each replica a node of its own that any client may ask.
//!
//! Promises: writes and linearizable reads at any node; a follower's answer says how old it can be at most, and is
//! never older than asked for.
//! Leaves out: shards; which node a client should ask.

mod registers;
mod request;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use quorate::{Group, GroupId, GroupOptions};
use quorate_statemachines::register::RegisterMachine;

use self::registers::Registers;
use self::request::Command;
use super::late::Late;
use super::targets;
use super::{FIRST_LEADER, ServiceOptions, left, no_faults, unusable};
use crate::distributed::{DistributedNode, DistributedOptions, Roster};
use crate::embedded::EmbeddedGroup;
use crate::services::presence::inside;
use crate::stdio::peers::PeerMessage;
use crate::stdio::{Call, ErrorReply, Failure, Fault, Init, Outbox, Plan, Reply, Request, Service};

/// The service of the binary `replica`.
#[derive(Debug)]
pub struct Replica {
    layout: Layout,
    running: OnceLock<Late<Running>>,
}

/// Where the replicas are.
#[derive(Clone, Debug)]
enum Layout {
    /// In this process, all of them.
    Embedded(ServiceOptions),
    /// Each in a process of its own; this one is one of them.
    Distributed(DistributedOptions),
}

/// A service that has been initialised.
#[derive(Debug)]
struct Running {
    registers: Registers,
    home: Home,
}

#[derive(Debug)]
enum Home {
    Embedded { names: Vec<String>, group: Arc<EmbeddedGroup<RegisterMachine>> },
    Distributed { node: Box<DistributedNode>, group: Group<RegisterMachine> },
}

/// The name of the service, and of its group, where they are kept.
const WHAT: &str = "replica";

/// The group of a process that is one of its nodes.
const GROUP: GroupId = GroupId(1);

impl Replica {
    /// A service that has not been initialised, and will have all replicas in this process.
    pub fn new(options: ServiceOptions) -> Self {
        Replica { layout: Layout::Embedded(options), running: OnceLock::new() }
    }

    /// A service that has not been initialised, and will be the one replica that `init` names.
    pub fn distributed(options: DistributedOptions) -> Self {
        Replica { layout: Layout::Distributed(options), running: OnceLock::new() }
    }

    fn running(&self) -> Result<&Late<Running>, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

impl Running {
    async fn embedded(options: ServiceOptions, names: Vec<String>, failure: Failure) -> Result<Self, ErrorReply> {
        let world = options.open(WHAT, names.clone(), None, GroupOptions::default(), &failure).await?;
        let started = EmbeddedGroup::start_named(&world, WHAT, &names, RegisterMachine::new).await;
        let group = started.map_err(|fatal| unusable(&failure, fatal))?;
        group.led(FIRST_LEADER).await;
        let nodes = names.iter().enumerate().filter_map(|(nth, name)| Some((group.node(nth)?, name.clone())));
        let registers = Registers::new(nodes.collect(), Arc::clone(world.env()));
        Ok(Running { registers, home: Home::Embedded { names, group } })
    }

    /// Waits for nobody: the others may not be there yet.
    async fn distributed(
        options: DistributedOptions,
        roster: Roster,
        outbox: Outbox,
        failure: Failure,
    ) -> Result<Self, ErrorReply> {
        let started = async {
            let node = DistributedNode::start(WHAT, roster, outbox, failure.clone(), &options, options.group()).await?;
            // Nobody is heard before it is there.
            let group = node.host(GROUP, RegisterMachine::new(), node.roster().nodes()).await?;
            node.listen();
            Ok((node, group))
        };
        let (node, group) = started.await.map_err(|fatal| unusable(&failure, fatal))?;
        let names = node.roster().names().iter().map(|(node, name)| (*node, name.to_string())).collect();
        let registers = Registers::new(names, Arc::clone(node.env()));
        Ok(Running { registers, home: Home::Distributed { node: Box::new(node), group } })
    }

    async fn call(&self, node: &Group<RegisterMachine>, command: Command, call: &Call) -> Result<Reply, ErrorReply> {
        let (registers, timeout) = (&self.registers, left(call.deadline));
        match command {
            Command::Read { key } => registers.read(node, &key, timeout).await,
            Command::Change { key, change, session } => registers.change(node, &key, change, session, timeout).await,
            Command::FollowerRead { key, freshness } => registers.follower_read(node, &key, freshness, timeout).await,
        }
    }
}

#[async_trait]
impl Service for Replica {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request)
    }

    fn hears_peers(&self) -> bool {
        matches!(self.layout, Layout::Distributed(_))
    }

    fn hear(&self, message: PeerMessage) {
        let running = self.running.get().and_then(Late::now);
        if let Some(Home::Distributed { node, .. }) = running.as_ref().map(|running| &running.home) {
            node.hear(&message);
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let (names, failure) = (init.node_ids()?, init.failure.clone());
        let running = match self.layout.clone() {
            Layout::Embedded(options) => Late::start(&init, Running::embedded(options, names, failure)).await?,
            Layout::Distributed(options) => {
                let roster = Roster::of_all(&names, init.node_id()?).map_err(targets::failed)?;
                let starting = Running::distributed(options, roster, init.outbox.clone(), failure);
                Late::start(&init, starting).await?
            }
        };
        let _ = self.running.set(running);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let running = self.running()?.by(call.deadline).await?;
        let no_node = || ErrorReply::not_found(format!("no node {} here", call.dest));
        match &running.home {
            Home::Embedded { names, group } => {
                let nth = names.iter().position(|name| **name == *call.dest).ok_or_else(no_node)?;
                let life = group.watch(nth).ok_or_else(|| targets::unknown(&call.dest))?;
                inside(life, call.deadline, async {
                    let stopped = || ErrorReply::unavailable("it is stopped").reason("node_stopped");
                    let node = group.running(nth).ok_or_else(stopped)?;
                    running.call(&node, command, &call).await
                })
                .await
            }
            Home::Distributed { node, group } if *node.roster().name() == call.dest => {
                running.call(group, command, &call).await
            }
            Home::Distributed { .. } => Err(no_node().reason("unknown_node")),
        }
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let running = self.running()?.now().ok_or_else(|| targets::unknown(&fault.target))?;
        let Home::Embedded { names, group } = &running.home else { return Err(no_faults()) };
        let nth = names.iter().position(|name| *name == fault.target).ok_or_else(|| targets::unknown(&fault.target))?;
        group.fault(nth, targets::replica_fault(fault.action)).await.map_err(targets::failed)
    }

    async fn shutdown(&self) {
        let running = self.running.get().and_then(Late::now);
        match running.as_ref().map(|running| &running.home) {
            Some(Home::Embedded { group, .. }) => {
                group.shutdown().await;
                group.world().close().await;
            }
            Some(Home::Distributed { node, .. }) => node.shutdown().await,
            None => {}
        }
    }
}
