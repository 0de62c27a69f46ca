//! Masters as a role of servers: each node of `[masters]` hosts one, on the log, the snapshots and the connections that its
//! other groups use.
//!
//! - [`MastersConfig`]: which nodes, and how long they wait.
//! - `Role`: this server's master, if it has one, and what clients ask of it.
//! - [`MastersClient`]: finds the primary, makes each change once, hears of new primaries.
//!
//! Promises: what `docs/masters.md` does; a change of primary is told to whoever watches the new primary's server, however
//! late it comes.
//! Leaves out: masters on other nodes than the first ones.

mod client;
mod config;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, stream};
use quorate::{Fatal, GroupId, GroupOptions, Host, NodeId};
use quorate_statemachines::configlog::Book;
use quorate_statemachines::master::{MasterMachine, Name, Office};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Status;

pub use client::{MasterError, MastersClient, PrimaryChanges};
pub use config::MastersConfig;

use super::compare::compare_masters_regularly;
use super::outcome::{TIMEOUT, rejected, timeout};
use super::proto;
use crate::hosting::Hosting;
use crate::served::Served;
use crate::services::MasterOptions;
use crate::services::master::{Masters, of_masters, plan};
use crate::stdio::reply::Answer;
use crate::stdio::{ErrorReply, Reply, Request};

/// The masters' group.
pub(super) const MASTERS: GroupId = GroupId(2);

/// The masters' name among the groups.
pub(crate) const MASTERS_NAME: &str = "masters";

/// The masters, as a server knows them.
pub(super) struct Role {
    seats: BTreeMap<NodeId, Name>,
    options: MasterOptions,
    served: Arc<Served<MasterMachine>>,
    here: Option<Here>,
}

/// The master on this node.
struct Here {
    masters: Arc<Masters>,
    own: Name,
}

impl Role {
    /// Starts this node's master, if it is to have one. `hosting` gives it a place among the node's replicas; every so often
    /// it has the masters' states compared.
    ///
    /// # Errors
    /// [`Fatal`] when its replica cannot start.
    pub(super) async fn start(
        config: &MastersConfig,
        host: &Arc<Host>,
        group: GroupOptions,
        hosting: impl FnOnce(GroupOptions) -> Arc<Hosting>,
        compare_every: Duration,
    ) -> Result<Role, Fatal> {
        let (seats, options) = (config.seats(), config.options(&group));
        let remote = host.remote(MASTERS, seats.keys().copied().collect());
        let served = Arc::new(Served::elsewhere(host.node(), remote));
        let here = match seats.get(&host.node()) {
            None => None,
            Some(own) => {
                // A silence is what they judge each other by, so they do not fall quiet.
                let group = GroupOptions { quiesce_after: None, ..of_masters(group, seats.len()) };
                let (own, hosting) = (own.clone(), hosting(group));
                // Clients hear of a new primary through `watch`, whoever they are.
                let tell = Box::new(|_: &str, _: &str, _: &Office| {});
                let masters = Masters::start_apart(MASTERS, &hosting, seats.clone(), options.clone(), tell).await?;
                let compared = compare_masters_regularly(Arc::downgrade(&masters), own.clone(), compare_every);
                hosting.env().spawn(Box::pin(compared));
                Some(Here { masters, own })
            }
        };
        Ok(Role { seats, options, served, here })
    }

    /// The masters' group. Its replica here is another one after each takeover.
    pub(super) fn group(&self) -> Arc<Served<MasterMachine>> {
        if let Some(replica) = self.here.as_ref().and_then(|here| here.masters.replica(&here.own)) {
            self.served.is_here(replica);
        }
        Arc::clone(&self.served)
    }

    fn here(&self) -> Result<&Here, Status> {
        let nowhere = || rejected(Status::failed_precondition("there is no master on this node"));
        self.here.as_ref().ok_or_else(nowhere)
    }

    /// Has this node's master do what a client asks. Whatever comes of it is a body of the protocol.
    pub(super) async fn answer(&self, request: proto::MasterRequest) -> Result<proto::MasterReply, Status> {
        let here = self.here()?;
        let proto::MasterRequest { client, body, timeout_ms } = request;
        let (kind, outcome) = here.carry_out(&client, &body, timeout_ms, self.options.failure_timeout).await;
        Ok(proto::MasterReply { body: Answer::new(&kind, outcome).body() })
    }

    /// The newest primary that this node's master has heard of, if it is of a later epoch than `after`; then each that it
    /// becomes itself.
    pub(super) async fn watch(&self, after: u64, ending: watch::Receiver<bool>) -> Result<PrimaryStream, Status> {
        let Here { masters, own } = self.here()?;
        let announced = masters.announced();
        let heard = masters.heard_of(own).await;
        Ok(tell(Watching { heard: Some(heard), announced, ending, known: after }))
    }

    /// Who the masters are, and where `book` has them.
    pub(super) async fn described(&self, book: &Book) -> proto::MastersReply {
        let master = |(node, name): (&NodeId, &Name)| proto::Master {
            name: name.to_string(),
            node: node.0,
            client: book.nodes.get(node).map(|addresses| addresses.client.clone()).unwrap_or_default(),
        };
        let heard = match &self.here {
            Some(Here { masters, own }) => told(&masters.heard_of(own).await),
            None => None,
        };
        proto::MastersReply { masters: self.seats.iter().map(master).collect(), primary: heard }
    }

    /// What this node's master is at the moment.
    pub(super) fn standing(&self) -> Option<proto::MasterStanding> {
        let Here { masters, own } = self.here.as_ref()?;
        let epoch = masters.serves(own).map(|epoch| epoch.0);
        let primary = masters.follows(own).map(|name| name.to_string());
        Some(proto::MasterStanding { name: own.to_string(), epoch, primary })
    }
}

impl Here {
    async fn carry_out(
        &self,
        client: &str,
        body: &str,
        timeout_ms: u64,
        failure_timeout: Duration,
    ) -> (String, Result<Reply, ErrorReply>) {
        if client.is_empty() {
            return (String::new(), Err(ErrorReply::malformed("who asks? (client)")));
        }
        let planned = Request::of_body(client, &self.own, body);
        let planned = planned.and_then(|request| Ok((plan(&request, failure_timeout)?, request.kind)));
        let (plan, kind) = match planned {
            Ok(planned) => planned,
            Err(error) => return (String::new(), Err(error)),
        };
        let time = if timeout_ms == 0 { plan.timeout.unwrap_or(TIMEOUT) } else { timeout(timeout_ms) };
        let call = self.masters.call(&self.own, client, plan.command, Instant::now() + time);
        (kind, Box::pin(call).await)
    }
}

/// New primaries, as they come.
pub(super) type PrimaryStream = Pin<Box<dyn Stream<Item = Result<proto::Primary, Status>> + Send>>;

struct Watching {
    /// Until it was told.
    heard: Option<Office>,
    announced: quorate::watch::Receiver<Office>,
    ending: watch::Receiver<bool>,
    /// The newest epoch that was told.
    known: u64,
}

fn told(office: &Office) -> Option<proto::Primary> {
    let name = office.primary.as_ref()?.to_string();
    Some(proto::Primary { name, epoch: office.epoch.0 })
}

fn tell(watching: Watching) -> PrimaryStream {
    Box::pin(stream::unfold(watching, |mut watching| async move {
        loop {
            let office = match watching.heard.take() {
                Some(heard) => heard,
                None => watching.announced.borrow_and_update().clone(),
            };
            if let Some(primary) = told(&office).filter(|primary| primary.epoch > watching.known) {
                watching.known = primary.epoch;
                return Some((Ok(primary), watching));
            }
            tokio::select! {
                changed = watching.announced.changed() => if changed.is_err() { return None },
                // The server would wait for this call.
                _ = watching.ending.wait_for(|ending| *ending) => return None,
            }
        }
    }))
}
