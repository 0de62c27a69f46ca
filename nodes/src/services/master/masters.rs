//! The masters as one process knows them: their names, their group, and what each of them keeps to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::env::{Env, Moment, until};
use quorate::{Consistency, Fatal, Group, GroupId, NodeId, watch};
use quorate_statemachines::master::{Epoch, MasterMachine, MasterQuery, Name, Office};
use tokio::time::Instant;

use super::MasterOptions;
use super::heartbeats::Attendance;
use super::request::Command;
use super::seats::{Apart, Seats};
use super::standing::Standing;
use crate::embedded::{EmbeddedGroup, World};
use crate::hosting::Hosting;
use crate::kv::sessions::{OpenedSessions, OwnSessions};
use crate::services::presence::inside;
use crate::services::targets::{self, LeadersHit};
use crate::services::{FIRST_LEADER, left, no_faults};
use crate::stdio::{ErrorReply, Fault, Reply};

/// The name under which all masters are a target of faults.
const ALL: &str = "master";

/// Says something that answers nothing: in whose name, to whom, and that this is the office now.
pub type Tell = Box<dyn Fn(&str, &str, &Office) + Send + Sync>;

/// A master's replica.
pub(crate) type Node = Group<MasterMachine>;

/// All masters of a process, without the protocol around them.
pub struct Masters {
    pub(super) names: Vec<Name>,
    pub(super) group: Seats,
    pub(super) env: Arc<dyn Env>,
    pub(super) tell: Tell,
    pub(super) options: MasterOptions,
    /// How long a master that knows no primary may take to hear of one, if the others are well.
    pub(super) patience: Duration,
    pub(super) standings: watch::Sender<Vec<Standing>>,
    /// Of each master, which counts while it is the primary.
    attendance: Vec<Mutex<Attendance>>,
    pub(super) own_sessions: OwnSessions,
    pub(super) opened: OpenedSessions<()>,
    /// The newest office that was announced.
    pub(super) announced: watch::Sender<Office>,
    /// Operators are served one at a time.
    pub(super) failover: tokio::sync::Mutex<()>,
    /// And one of them goes on alone at a time.
    pub(super) takeover: tokio::sync::Mutex<()>,
    /// How often each was refused to go on alone since it last heard the other.
    pub(super) refusals: Vec<AtomicU32>,
    leaders_hit: LeadersHit,
}

impl std::fmt::Debug for Masters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masters").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Masters {
    /// Starts masters of these names in memory, the first of which is the first primary. `tell` is called when a primary has
    /// something to say that answers nothing.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn start(names: Vec<String>, options: MasterOptions, tell: Tell) -> Result<Arc<Self>, Fatal> {
        let world = World::seeded(options.group(names.len()), options.service.seed);
        Self::start_in(world, names, options, tell).await
    }

    /// The same in a world of the caller's, which may have kept what earlier masters knew.
    pub(super) async fn start_in(
        world: World,
        names: Vec<String>,
        options: MasterOptions,
        tell: Tell,
    ) -> Result<Arc<Self>, Fatal> {
        let group = EmbeddedGroup::start_named(&world, "master", &names, MasterMachine::new).await?;
        let (env, names) = (Arc::clone(world.env()), names.into_iter().map(Name::from).collect());
        let patience = world.options().election_timeout.1 * 4;
        let masters = Self::seated(Seats::Together(group), names, env, patience, options, tell);
        masters.led(FIRST_LEADER).await;
        Ok(masters)
    }

    /// Starts the one master of this process, on the node of `hosting`, as a replica of group `id`; the others, by their nodes,
    /// are in other processes. Waits for none of them. The master stops with its node.
    ///
    /// # Errors
    /// [`Fatal`] when its replica cannot start, or no master is on this node.
    pub(crate) async fn start_apart(
        id: GroupId,
        hosting: &Arc<Hosting>,
        masters: BTreeMap<NodeId, Name>,
        options: MasterOptions,
        tell: Tell,
    ) -> Result<Arc<Self>, Fatal> {
        let (env, patience) = (Arc::clone(hosting.env()), hosting.options().election_timeout.1 * 4);
        let group = Apart::start(id, Arc::clone(hosting), masters.keys().copied().collect()).await?;
        let names = masters.into_values().collect();
        Ok(Self::seated(Seats::Apart(group), names, env, patience, options, tell))
    }

    fn seated(
        group: Seats,
        names: Vec<Name>,
        env: Arc<dyn Env>,
        patience: Duration,
        options: MasterOptions,
        tell: Tell,
    ) -> Arc<Self> {
        let masters = Arc::new(Masters {
            standings: watch::channel(vec![Standing::Waiting; names.len()]).0,
            attendance: names.iter().map(|_| Mutex::default()).collect(),
            own_sessions: OwnSessions::new(Arc::clone(&env)),
            opened: OpenedSessions::default(),
            announced: watch::channel(Office::default()).0,
            failover: tokio::sync::Mutex::default(),
            takeover: tokio::sync::Mutex::default(),
            refusals: names.iter().map(|_| AtomicU32::new(0)).collect(),
            leaders_hit: LeadersHit::default(),
            patience,
            names,
            group,
            env,
            tell,
            options,
        });
        masters.follow_all();
        masters
    }

    /// Has the master `dest` do what the client `who` asks of it, by `deadline`.
    ///
    /// # Errors
    /// The error reply.
    pub async fn call(
        self: &Arc<Self>,
        dest: &str,
        who: &str,
        command: Command,
        deadline: Instant,
    ) -> Result<Reply, ErrorReply> {
        let nth = self.nth(dest).ok_or_else(|| ErrorReply::not_found(format!("no master {dest}")))?;
        let elsewhere = || ErrorReply::not_found(format!("no node {dest} here")).reason("unknown_node");
        let life = self.group.watch(nth).ok_or_else(elsewhere)?;
        inside(life, deadline, Box::pin(self.carry_out(nth, command, who, deadline))).await
    }

    /// Breaks or mends masters.
    ///
    /// # Errors
    /// Error 1 when there is no such target; error 13 when one cannot start again.
    pub async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let Seats::Together(group) = &self.group else { return Err(no_faults()) };
        let Fault { action, target } = fault;
        let hit = match self.nth(&target) {
            Some(nth) => vec![nth],
            None => match targets::parse(&target) {
                (ALL, which) => self.leaders_hit.replicas(group, which, &target, action).await?,
                _ => return Err(targets::unknown(&target)),
            },
        };
        for nth in hit {
            group.fault(nth, targets::replica_fault(action)).await.map_err(targets::failed)?;
        }
        Ok(())
    }

    /// Whether every master runs and has a vote, by its own log. Of two, one that does not know that it has one cannot
    /// go on alone.
    pub fn is_whole(&self) -> bool {
        let all: BTreeSet<NodeId> = (0..self.names.len()).filter_map(|nth| self.group.node(nth)).collect();
        let votes = |nth: usize| {
            let node = self.group.running(nth)?;
            Some(node.watch().borrow().membership.voters == [all.clone()])
        };
        (0..self.names.len()).all(|nth| votes(nth) == Some(true))
    }

    /// Stops all masters, if all of them are in this process.
    pub async fn shutdown(&self) {
        self.group.shutdown().await;
    }

    /// The newest office that a master of this process has taken, told as soon as it is committed, before it serves.
    pub fn announced(&self) -> watch::Receiver<Office> {
        self.announced.subscribe()
    }

    /// The office that the master on this node has heard of last; it may be over.
    pub(crate) async fn heard_of(&self, master: &str) -> Office {
        match self.nth(master) {
            // Deep in calls of its own: boxed, the callers' stay small.
            Some(nth) => Box::pin(self.last_office(nth)).await,
            None => Office::default(),
        }
    }

    /// The replica of a master of this process, if it runs.
    pub(crate) fn replica(&self, master: &str) -> Option<Node> {
        self.group.running(self.nth(master)?)
    }

    /// The epoch under which a master of this process serves, if it does.
    pub(crate) fn serves(&self, master: &str) -> Option<Epoch> {
        match self.standings.borrow().get(self.nth(master)?) {
            Some(Standing::Primary(term)) => Some(term.epoch),
            _ => None,
        }
    }

    /// Whom a master of this process takes for the primary, itself if it serves.
    pub(crate) fn follows(&self, master: &str) -> Option<Name> {
        let nth = self.nth(master)?;
        match self.standings.borrow().get(nth)? {
            Standing::Primary(_) => Some(self.name(nth)),
            Standing::Shadow(primary) => Some(self.name(*primary)),
            Standing::Waiting | Standing::Down => None,
        }
    }

    /// The master of this name.
    pub(super) fn nth(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| **other == *name)
    }

    /// A master's name; empty for one that there is not.
    pub(super) fn name(&self, nth: usize) -> Name {
        self.names.get(nth).cloned().unwrap_or_default()
    }

    /// A master's replica.
    ///
    /// # Errors
    /// Error 11 if it is stopped.
    pub(super) fn node(&self, nth: usize) -> Result<Node, ErrorReply> {
        self.group.running(nth).ok_or_else(|| ErrorReply::unavailable("it is stopped").reason("node_stopped"))
    }

    pub(super) fn attendance(&self, nth: usize) -> Option<MutexGuard<'_, Attendance>> {
        Some(self.attendance.get(nth)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a master serves, at most for so long.
    pub(super) async fn led(&self, timeout: Duration) {
        let mut standings = self.standings.subscribe();
        let serves = |standings: &Vec<Standing>| standings.iter().any(|one| matches!(one, Standing::Primary(_)));
        let _ = until(&self.env, self.env.now() + timeout, standings.wait_for(serves)).await;
    }

    /// Who was the last primary, as this master has heard.
    pub(super) async fn last_office(&self, nth: usize) -> Office {
        let Some(node) = self.group.running(nth) else { return Office::default() };
        let answer = node.read(Consistency::Local, &MasterQuery::Office, self.patience).await;
        answer.map(|reply| reply.answer.office).unwrap_or_default()
    }

    /// What is left until `deadline`.
    pub(super) fn left(&self, deadline: Moment) -> Duration {
        deadline.since(self.env.now())
    }

    /// Does what a client asks of a master.
    pub(super) async fn carry_out(
        self: &Arc<Self>,
        nth: usize,
        command: Command,
        who: &str,
        deadline: Instant,
    ) -> Result<Reply, ErrorReply> {
        let deadline = self.env.now() + left(deadline);
        match command {
            Command::Change { op, claimed, session } => {
                let (done, epoch) = self.change(nth, op.clone(), claimed, session, deadline).await?;
                Ok(self.described(nth, &op, done, epoch))
            }
            Command::Question { query, claimed } => self.answer(nth, query, claimed, deadline).await,
            Command::Heartbeat { chunks } => self.heartbeat(nth, who.into(), chunks, deadline).await,
            Command::ShadowStatus => self.shadow_status().await,
            Command::TriggerFailover { failed, to } => match &self.group {
                Seats::Together(_) => self.fail_over(&failed, to.as_deref(), deadline).await,
                Seats::Apart(apart) => self.fail_over_apart(apart, &failed, to.as_deref(), deadline).await,
            },
        }
    }
}
