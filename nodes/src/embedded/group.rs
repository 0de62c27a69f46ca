//! One group's replicas in this process, and a hand on each of them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use quorate::log::MemoryLog;
use quorate::snapshot::MemorySnapshots;
use quorate::transport::{Link, LinkFaults};
use quorate::types::{GroupId, Index, NodeId};
use quorate::{
    Consistency, Fatal, Group, GroupSpec, Host, HostConfig, ReadError, ReadReply, Rejected, Role, StateMachine,
    Unknown, WriteError, WriteOptions, Written,
};

use super::World;
use crate::kv::Reach;

/// What a replica is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Running,
    /// It neither hears nor says anything until it is resumed; its clock goes on.
    Paused,
    /// It crashed; its stores are there.
    Stopped,
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

/// A group of replicas in this process.
pub struct EmbeddedGroup<M> {
    id: GroupId,
    world: World,
    make: Box<dyn Fn() -> M + Send + Sync>,
    replicas: Vec<Replica<M>>,
}

struct Replica<M> {
    node: NodeId,
    log: MemoryLog,
    snapshots: MemorySnapshots,
    life: Mutex<Life<M>>,
    /// Faults are carried out one at a time.
    fault: tokio::sync::Mutex<()>,
}

struct Life<M> {
    power: Power,
    running: Option<(Arc<Host>, Group<M>)>,
    /// Bumped at each stop: who waits on an earlier life learns that it ended.
    lives: u64,
}

impl<M> Replica<M> {
    fn life(&self) -> MutexGuard<'_, Life<M>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
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
        let replicas: Vec<_> = (0..replicas.max(1))
            .map(|_| Replica {
                node: world.allocate_node(),
                log: MemoryLog::new(),
                snapshots: MemorySnapshots::new(),
                life: Mutex::new(Life { power: Power::Stopped, running: None, lives: 0 }),
                fault: tokio::sync::Mutex::default(),
            })
            .collect();
        let group = EmbeddedGroup { id: world.allocate_group(), world: world.clone(), make: Box::new(make), replicas };
        for replica in &group.replicas {
            group.start_replica(replica).await?;
        }
        let voters: BTreeSet<_> = group.replicas.iter().map(|replica| replica.node).collect();
        if let Some(first) = group.running(0) {
            first.initialize(voters).await.map_err(|cause| Fatal(cause.to_string()))?;
        }
        Ok(Arc::new(group))
    }

    async fn start_replica(&self, replica: &Replica<M>) -> Result<(), Fatal> {
        if replica.life().running.is_some() {
            return Ok(());
        }
        let config = HostConfig { node: replica.node, cluster: self.world.cluster };
        let transport = self.world.network.transport(replica.node);
        let host = Host::new(config, Arc::clone(&self.world.env), transport);
        let spec = GroupSpec {
            id: self.id,
            machine: (self.make)(),
            log: Arc::new(replica.log.clone()),
            snapshots: Arc::new(replica.snapshots.clone()),
            options: self.world.options.clone(),
        };
        // A leader elected before it can hear would only be deposed again.
        self.world.network.register(replica.node, &host);
        let group = host.create_group(spec).await?;
        let mut life = replica.life();
        life.running = Some((host, group));
        life.power = Power::Running;
        Ok(())
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
        self.replicas.get(replica).map(|replica| replica.life().power)
    }

    /// The handle of a replica, unless it is stopped.
    pub fn running(&self, replica: usize) -> Option<Group<M>> {
        let life = self.replicas.get(replica)?.life();
        life.running.as_ref().map(|(_, group)| group.clone())
    }

    /// How many lives of a replica have ended.
    pub fn lives(&self, replica: usize) -> u64 {
        self.replicas.get(replica).map_or(0, |replica| replica.life().lives)
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
            ReplicaFault::Pause => {
                let mut life = replica.life();
                if life.power == Power::Running {
                    network.pause(node);
                    life.power = Power::Paused;
                }
            }
            ReplicaFault::Resume => {
                let mut life = replica.life();
                if life.power == Power::Paused {
                    network.resume(node);
                    life.power = Power::Running;
                }
            }
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
        let running = {
            let mut life = replica.life();
            life.power = Power::Stopped;
            life.lives += 1;
            life.running.take()
        };
        // First the network: a crash lets nothing out any more.
        self.world.network.unregister(replica.node);
        if let Some((host, _)) = running {
            host.shutdown().await;
        }
        // A paused node that is stopped does not stay paused in its next life.
        self.world.network.resume(replica.node);
    }

    /// Stops all replicas.
    pub async fn shutdown(&self) {
        join_all(self.replicas.iter().map(|replica| self.stop_replica(replica))).await;
    }

    /// The replicas that a client would ask, the likeliest first: the leader, then the others that run.
    fn candidates(&self) -> Vec<(usize, Group<M>)> {
        let leader = self.leader();
        let mut replicas: Vec<_> = (0..self.replicas.len()).collect();
        replicas.sort_by_key(|replica| Some(*replica) != leader);
        let usable = |replica: &usize| self.power(*replica) == Some(Power::Running);
        replicas.into_iter().filter(usable).filter_map(|replica| Some((replica, self.running(replica)?))).collect()
    }
}

#[async_trait]
impl<M: StateMachine> Reach<M> for EmbeddedGroup<M> {
    async fn write(
        &self,
        command: &M::Command,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<M::Reply>, WriteError> {
        let candidates = self.candidates();
        let Some((replica, group)) = pick(&candidates, attempt) else { return Err(Rejected::NoLeader.into()) };
        let lives = self.lives(*replica);
        let result = group.write(command, WriteOptions { session: None, timeout }).await;
        match result {
            // The replica was stopped under the call: only before it was proposed is "stopped" a refusal.
            Err(WriteError::Fatal(_)) if self.lives(*replica) != lives => {
                Err(Unknown::AnswerLost("the replica was stopped".into()).into())
            }
            result => result,
        }
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        let candidates = self.candidates();
        let Some((_, group)) = pick(&candidates, attempt) else { return Err(Rejected::NoLeader.into()) };
        group.read(consistency, query, timeout).await
    }

    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        let candidates = self.candidates();
        let Some((_, group)) = pick(&candidates, 1) else {
            self.world.env.sleep(timeout).await;
            return None;
        };
        let next = past.map_or(Index(0), Index::next);
        group.wait_applied(next, timeout).await;
        group.applied()
    }
}

fn pick<T>(candidates: &[T], attempt: usize) -> Option<&T> {
    candidates.get(attempt.checked_rem(candidates.len())?)
}
