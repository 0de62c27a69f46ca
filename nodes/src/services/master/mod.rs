//! Metadata masters: one primary that serves, and hot shadows that apply what it commits and take its place.
//!
//! Promises: a primary serves only once its epoch is committed; what an older primary still proposes changes nothing;
//! every chunk server and subscriber is told once of each new primary, and a heartbeat tells whoever missed it.
//! Leaves out: the data of chunks; which master a client should ask (a shadow names the primary).

mod changes;
mod failover;
mod failover_apart;
mod heartbeats;
mod masters;
mod node;
mod office;
mod questions;
mod refusals;
mod replies;
mod request;
mod seats;
mod standing;
mod status;
mod two;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use quorate::{GroupId, GroupOptions};
use quorate_statemachines::master::Office;

pub use self::masters::{Masters, Tell};
pub use self::node::MasterNode;
pub use self::request::Command;
pub(crate) use self::request::plan;
use super::late::Late;
use super::{ServiceOptions, targets, unusable};
use crate::distributed::{DistributedNode, DistributedOptions, Roster};
use crate::stdio::peers::PeerMessage;
use crate::stdio::{Call, ErrorReply, Failure, Fault, Init, Outbox, Plan, Reply, Request, Service};

/// How masters run.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// How the group of so many masters runs.
    fn group(&self, masters: usize) -> GroupOptions {
        let upper = self.election_timeout;
        let options = GroupOptions {
            heartbeat: upper / 5,
            election_timeout: (upper / 2, upper),
            lease_margin: upper / 10,
            ..GroupOptions::default()
        };
        of_masters(options, masters)
    }
}

/// The same for a group of so many masters.
pub(crate) fn of_masters(options: GroupOptions, masters: usize) -> GroupOptions {
    // What the rule for two of them rests on; the others need it not.
    GroupOptions { flush_before_send: masters == 2, ..options }
}

/// The name of the service where it is kept.
const WHAT: &str = "master";

/// The masters' group where each is a process of its own, and nothing else.
const GROUP: GroupId = GroupId(1);

/// The service of the binary `master`.
#[derive(Debug)]
pub struct Master {
    options: MasterOptions,
    /// How this process finds the others, if it is not all masters.
    distributed: Option<DistributedOptions>,
    home: OnceLock<Late<Home>>,
}

/// Where the masters are.
#[derive(Debug)]
enum Home {
    /// In this process, all of them.
    Embedded(Arc<Masters>),
    /// In several processes; this one is one of them.
    Distributed { node: Arc<DistributedNode>, masters: Arc<Masters> },
}

impl Master {
    /// A service that has not been initialised, and will have all masters in this process.
    pub fn new(options: MasterOptions) -> Self {
        Master { options, distributed: None, home: OnceLock::new() }
    }

    /// A service that has not been initialised, and will be the one master that `init` names. Its elections follow from the
    /// heartbeat of `distributed`.
    pub fn distributed(options: MasterOptions, distributed: DistributedOptions) -> Self {
        Master { options, distributed: Some(distributed), home: OnceLock::new() }
    }

    fn home(&self) -> Result<&Late<Home>, ErrorReply> {
        self.home.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

impl Home {
    async fn embedded(
        options: MasterOptions,
        names: Vec<String>,
        tell: Tell,
        failure: Failure,
    ) -> Result<Home, ErrorReply> {
        let group = options.group(names.len());
        let world = options.service.open(WHAT, names.clone(), None, group, &failure).await?;
        let masters = Masters::start_in(world, names, options, tell).await;
        Ok(Home::Embedded(masters.map_err(|fatal| unusable(&failure, fatal))?))
    }

    /// Waits for nobody: the others may not be there yet.
    async fn apart(
        (options, distributed): (MasterOptions, DistributedOptions),
        roster: Roster,
        outbox: Outbox,
        failure: Failure,
    ) -> Result<Home, ErrorReply> {
        let group = of_masters(distributed.group(), roster.names().len());
        let (names, tell) = (roster.names().clone(), teller(&outbox));
        let started = async {
            let node = DistributedNode::start(WHAT, roster, outbox, failure.clone(), &distributed, group).await?;
            let masters = Masters::start_apart(GROUP, node.hosting(), names, options, tell).await?;
            node.listen();
            Ok(Home::Distributed { node: Arc::new(node), masters })
        };
        started.await.map_err(|fatal| unusable(&failure, fatal))
    }
}

/// Tells clients of new primaries.
fn teller(outbox: &Outbox) -> Tell {
    let outbox = outbox.clone();
    Box::new(move |me: &str, who: &str, office: &Office| {
        let fields = Reply::new().field("primary", me).field("epoch", office.epoch.0);
        outbox.notify(me, who, "primary_changed", fields);
    })
}

#[async_trait]
impl Service for Master {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        plan(request, self.options.failure_timeout)
    }

    fn hears_peers(&self) -> bool {
        self.distributed.is_some()
    }

    fn hear(&self, message: PeerMessage) {
        if let Some(Home::Distributed { node, .. }) = self.home.get().and_then(Late::now).as_deref() {
            node.hear(&message);
        }
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        let (names, options, failure) = (init.node_ids()?, self.options.clone(), init.failure.clone());
        let home = match self.distributed.clone() {
            None => Late::start(&init, Home::embedded(options, names, teller(&init.outbox), failure)).await?,
            Some(distributed) => {
                let roster = Roster::of_all(&names, init.node_id()?).map_err(targets::failed)?;
                let starting = Home::apart((options, distributed), roster, init.outbox.clone(), failure);
                Late::start(&init, starting).await?
            }
        };
        let _ = self.home.set(home);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        match &*self.home()?.by(call.deadline).await? {
            Home::Embedded(masters) | Home::Distributed { masters, .. } => {
                masters.call(&call.dest, &call.src, command, call.deadline).await
            }
        }
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        match self.home()?.now().as_deref() {
            Some(Home::Embedded(masters) | Home::Distributed { masters, .. }) => masters.fault(fault).await,
            None => Err(targets::unknown(&fault.target)),
        }
    }

    async fn shutdown(&self) {
        match self.home.get().and_then(Late::now).as_deref() {
            Some(Home::Embedded(masters)) => masters.shutdown().await,
            Some(Home::Distributed { node, .. }) => node.shutdown().await,
            None => {}
        }
    }
}
