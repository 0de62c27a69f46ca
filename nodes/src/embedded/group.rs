//! One group's replicas in this process, and a hand on each of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use quorate::transport::{Link, LinkFaults};
use quorate::types::{GroupId, NodeId};
use quorate::watch;
use quorate::{Evidence, Fatal, Group, GroupSpec, Host, HostConfig, Role, StateMachine, TakeOver, TakeOverRefusal};

use super::World;
use super::world::Place;
use crate::disk::OfGroup;

/// What a replica is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    #[default]
    Running,
    /// It neither hears nor says anything until it is resumed; its clock goes on.
    Paused,
    /// It crashed; its stores are there.
    Stopped,
}

/// What a process does, and how often it was stopped: all that its clients can notice of it from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// What it is doing now.
    pub power: Power,
    /// How many of its lives have ended: who waits on an earlier one learns that it is over.
    pub ended: u64,
}

impl Life {
    pub(crate) fn go_on(&mut self, power: Power) -> bool {
        let before = std::mem::replace(&mut self.power, power);
        self.ended += u64::from(power == Power::Stopped && before != Power::Stopped);
        before != power
    }
}

/// What can be done to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaFault {
    /// Crash it.
    Stop,
    /// Start it again from its stores.
    Start,
    /// Hold everything that it hears and says.
    Pause,
    /// Let it go on.
    Resume,
    /// Cut it off from its peers, not from its clients.
    Isolate,
    /// Undo `Isolate` and `Delay`.
    Heal,
    /// Delay what it says to its peers by so much.
    Delay(Duration),
}

/// The names of the nodes of groups that are given so many replicas each: a node has one replica of each group.
pub(crate) fn nodes(replicas: usize) -> Vec<String> {
    (0..replicas.max(1)).map(|nth| format!("replica-{nth}")).collect()
}

/// How often to look for a leader.
const LOOK: Duration = Duration::from_millis(2);

/// A group of replicas in this process.
pub struct EmbeddedGroup<M> {
    id: GroupId,
    pub(super) world: World,
    make: Box<dyn Fn() -> M + Send + Sync>,
    replicas: Vec<Replica<M>>,
    /// Of the group as one: it runs while any replica does, and stops with the last.
    whole: watch::Sender<Life>,
}

struct Replica<M> {
    node: NodeId,
    stores: OfGroup,
    life: watch::Sender<Life>,
    running: Mutex<Option<(Arc<Host>, Group<M>)>>,
    /// Faults are carried out one at a time.
    fault: tokio::sync::Mutex<()>,
}

impl<M> Replica<M> {
    fn new((node, stores): Place) -> Self {
        Replica {
            node,
            stores,
            life: watch::channel(Life { power: Power::Stopped, ended: 0 }).0,
            running: Mutex::default(),
            fault: tokio::sync::Mutex::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, Option<(Arc<Host>, Group<M>)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn power(&self) -> Power {
        self.life.borrow().power
    }
}

impl<M> fmt::Debug for EmbeddedGroup<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedGroup").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<M: StateMachine> EmbeddedGroup<M> {
    /// Starts a new group; its first replica is the first to lead.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start.
    pub async fn start(
        world: &World,
        replicas: usize,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Fatal> {
        Self::start_named(world, "", &nodes(replicas), make).await
    }

    /// Starts the group of this name, with a replica on each of `nodes`. If its world has kept it, it goes on; otherwise it is
    /// new, and its first replica is the first to lead.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start, or what was kept is damaged.
    pub async fn start_named(
        world: &World,
        name: &str,
        nodes: &[String],
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Fatal> {
        let (id, places) = world.place(name, nodes).await?;
        let group = EmbeddedGroup {
            id,
            world: world.clone(),
            make: Box::new(make),
            replicas: places.into_iter().map(Replica::new).collect(),
            whole: watch::channel(Life { power: Power::Stopped, ended: 0 }).0,
        };
        if world.is_kept() {
            // Each may have to wait for what an earlier life has promised.
            try_join_all(group.replicas.iter().map(|replica| group.start_replica(replica))).await?;
        } else {
            for replica in &group.replicas {
                group.start_replica(replica).await?;
            }
        }
        let voters: BTreeSet<_> = group.replicas.iter().map(|replica| replica.node).collect();
        if let Some(first) = group.running(0) {
            match first.initialize(voters).await {
                Err(refusal) if world.is_kept() => tracing::debug!(%id, %refusal, "the group is not new"),
                made => made.map_err(|cause| Fatal(cause.to_string()))?,
            }
        }
        Ok(Arc::new(group))
    }

    async fn start_replica(&self, replica: &Replica<M>) -> Result<(), Fatal> {
        if replica.running().is_some() {
            return Ok(());
        }
        let config = HostConfig { node: replica.node, cluster: self.world.cluster };
        let transport = self.world.network.transport(replica.node);
        let host = Host::new(config, Arc::clone(&self.world.env), transport);
        // A leader elected before it can hear would only be deposed again.
        self.world.network.register(replica.node, &host);
        let group = host.create_group(self.spec(replica)).await?;
        *replica.running() = Some((host, group));
        self.show(replica, Power::Running);
        Ok(())
    }

    fn spec(&self, replica: &Replica<M>) -> GroupSpec<M> {
        GroupSpec {
            id: self.id,
            machine: (self.make)(),
            log: Arc::clone(&replica.stores.0),
            snapshots: Arc::clone(&replica.stores.1),
            options: self.world.options.clone(),
        }
    }

    /// Lets a replica go on without the only other voter, if `judge` finds in its own log that it may; see
    /// [`Host::take_over`]. Its handle is another one afterwards, whether it may or not.
    ///
    /// # Errors
    /// [`Fatal`] when the replica cannot start again; it is stopped then.
    pub async fn take_over(
        &self,
        replica: usize,
        judge: impl Fn(&Evidence<'_, M>) -> bool + Send + Sync,
    ) -> Result<Result<(), TakeOverRefusal>, Fatal> {
        let Some(replica) = self.replicas.get(replica) else { return Err(Fatal("there is no such replica".into())) };
        let _one_at_a_time = replica.fault.lock().await;
        let Some(host) = replica.running().as_ref().map(|(host, _)| Arc::clone(host)) else {
            return Err(Fatal("the replica is stopped".into()));
        };
        match host.take_over(self.spec(replica), judge).await {
            Ok(outcome) => {
                *replica.running() = Some((host, outcome.group().clone()));
                Ok(match outcome {
                    TakeOver::Alone(_) => Ok(()),
                    TakeOver::Refused { cause, .. } => Err(cause),
                })
            }
            Err(fatal) => {
                self.stop_replica(replica).await;
                Err(fatal)
            }
        }
    }

    /// Lets those who watch know what a replica does now.
    fn show(&self, replica: &Replica<M>, power: Power) {
        replica.life.modify(|life| life.go_on(power));
        let powers: Vec<Power> = self.replicas.iter().map(Replica::power).collect();
        let of_all = [Power::Running, Power::Paused].into_iter().find(|power| powers.contains(power));
        self.whole.modify(|life| life.go_on(of_all.unwrap_or(Power::Stopped)));
    }

    /// How many replicas there are, running or not.
    pub fn replicas(&self) -> usize {
        self.replicas.len()
    }

    /// The node of a replica.
    pub fn node(&self, replica: usize) -> Option<NodeId> {
        self.replicas.get(replica).map(|replica| replica.node)
    }

    /// Which replica runs on a node.
    pub fn replica_of(&self, node: NodeId) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.node == node)
    }

    /// What a replica is doing.
    pub fn power(&self, replica: usize) -> Option<Power> {
        self.replicas.get(replica).map(Replica::power)
    }

    /// What a replica is doing, as it changes.
    pub fn watch(&self, replica: usize) -> Option<watch::Receiver<Life>> {
        self.replicas.get(replica).map(|replica| replica.life.subscribe())
    }

    /// What the group as one is doing, as it changes: it runs while any replica does, and stops with the last.
    pub fn watch_whole(&self) -> watch::Receiver<Life> {
        self.whole.subscribe()
    }

    /// The handle of a replica, unless it is stopped.
    pub fn running(&self, replica: usize) -> Option<Group<M>> {
        self.replicas.get(replica)?.running().as_ref().map(|(_, group)| group.clone())
    }

    /// How many lives of a replica have ended.
    pub fn lives(&self, replica: usize) -> u64 {
        self.replicas.get(replica).map_or(0, |replica| replica.life.borrow().ended)
    }

    /// The replica that leads: of those that think so, the one of the highest term.
    pub fn leader(&self) -> Option<usize> {
        let leads = |replica: usize| {
            let group = self.running(replica)?;
            let leadership = group.watch();
            let leadership = leadership.borrow();
            (leadership.role == Role::Leader).then_some((leadership.term, replica))
        };
        (0..self.replicas.len()).filter_map(leads).max().map(|(_, replica)| replica)
    }

    /// Waits until a replica leads; `None` when none does by the deadline.
    pub async fn led(&self, timeout: Duration) -> Option<usize> {
        let env = &self.world.env;
        let deadline = env.now() + timeout;
        loop {
            if let Some(leader) = self.leader() {
                return Some(leader);
            }
            if env.now() >= deadline {
                return None;
            }
            env.sleep(LOOK).await;
        }
    }

    /// Does something to a replica, and returns when it is done.
    ///
    /// # Errors
    /// [`Fatal`] when a replica cannot start again from its stores.
    pub async fn fault(&self, replica: usize, fault: ReplicaFault) -> Result<(), Fatal> {
        let Some(replica) = self.replicas.get(replica) else { return Ok(()) };
        let _one_at_a_time = replica.fault.lock().await;
        let (network, node) = (&self.world.network, replica.node);
        match fault {
            ReplicaFault::Stop => self.stop_replica(replica).await,
            ReplicaFault::Start => return self.start_replica(replica).await,
            ReplicaFault::Pause if replica.power() == Power::Running => {
                self.show(replica, Power::Paused);
                network.pause(node);
            }
            ReplicaFault::Resume if replica.power() == Power::Paused => {
                network.resume(node);
                self.show(replica, Power::Running);
            }
            ReplicaFault::Pause | ReplicaFault::Resume => {}
            ReplicaFault::Isolate => network.isolate(node),
            ReplicaFault::Heal => {
                network.rejoin(node);
                network.set_faults(Link::out_of(node), LinkFaults::none());
            }
            ReplicaFault::Delay(delay) => network.set_faults(Link::out_of(node), LinkFaults::delayed(delay, delay)),
        }
        Ok(())
    }

    async fn stop_replica(&self, replica: &Replica<M>) {
        self.show(replica, Power::Stopped);
        let running = replica.running().take();
        // First the network: a crash lets nothing out any more.
        self.world.network.unregister(replica.node);
        if let Some((host, _)) = running {
            host.shutdown().await;
        }
        // A paused node that is stopped does not stay paused in its next life.
        self.world.network.resume(replica.node);
    }

    /// What it shares with the other groups of the process.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Stops all replicas.
    pub async fn shutdown(&self) {
        join_all(self.replicas.iter().map(|replica| self.stop_replica(replica))).await;
    }
}
