//! Where the masters are: all of them in this process, or one, and the others in processes of their own.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use quorate::{Described, Evidence, Fatal, GroupId, NodeId, RemoteGroup, TakeOverRefusal, watch};
use quorate_statemachines::master::MasterMachine;

use super::masters::Node;
use crate::distributed::DistributedNode;
use crate::embedded::{EmbeddedGroup, Life, Power};

/// The masters' group where each is a process.
pub(super) const GROUP: GroupId = GroupId(1);

/// The replicas of the masters.
pub(super) enum Seats {
    /// All are in this process.
    Together(Arc<EmbeddedGroup<MasterMachine>>),
    /// One is; what the others do can only be asked.
    Apart(Apart),
}

/// One master among others.
pub(super) struct Apart {
    node: Arc<DistributedNode>,
    own: usize,
    nodes: Vec<NodeId>,
    replica: Mutex<Node>,
    life: watch::Sender<Life>,
    /// The way to each.
    ways: Vec<RemoteGroup<MasterMachine>>,
}

impl Apart {
    /// Starts this process's master. Nobody is heard before it is there.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub(super) async fn start(node: Arc<DistributedNode>) -> Result<Apart, Fatal> {
        let all = node.roster().nodes();
        let replica = node.host(GROUP, MasterMachine::new(), all.clone()).await?;
        node.listen();
        let own = all.iter().position(|one| *one == node.roster().own()).unwrap_or_default();
        let ways = all.iter().map(|one| node.hosting().host().remote(GROUP, BTreeSet::from([*one]))).collect();
        let life = watch::channel(Life::default()).0;
        Ok(Apart { node, own, nodes: all.into_iter().collect(), replica: Mutex::new(replica), life, ways })
    }

    /// Which of the masters this process is.
    pub(super) fn own(&self) -> usize {
        self.own
    }

    /// Its replica.
    pub(super) fn replica(&self) -> Node {
        self.held().clone()
    }

    fn held(&self) -> MutexGuard<'_, Node> {
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to one master alone.
    pub(super) fn way(&self, nth: usize) -> Option<&RemoteGroup<MasterMachine>> {
        self.ways.get(nth)
    }

    /// What each master says of itself within so long; `None` for one that says nothing.
    pub(super) async fn roll_call(&self, timeout: Duration) -> Vec<Option<Described>> {
        let describe = async |(nth, way): (usize, &RemoteGroup<MasterMachine>)| {
            if nth == self.own {
                return Some(Described::from(self.replica().status()));
            }
            way.describe(*self.nodes.get(nth)?, timeout).await.ok()
        };
        join_all(self.ways.iter().enumerate().map(describe)).await
    }
}

impl Seats {
    /// Whether this master is in this process.
    pub(super) fn is_here(&self, nth: usize) -> bool {
        match self {
            Seats::Together(_) => true,
            Seats::Apart(apart) => apart.own == nth,
        }
    }

    /// A master's replica, if it runs in this process.
    pub(super) fn running(&self, nth: usize) -> Option<Node> {
        match self {
            Seats::Together(group) => group.running(nth),
            Seats::Apart(apart) => (apart.own == nth).then(|| apart.replica()),
        }
    }

    /// What a master's replica in this process is doing.
    pub(super) fn power(&self, nth: usize) -> Option<Power> {
        match self {
            Seats::Together(group) => group.power(nth),
            Seats::Apart(apart) => (apart.own == nth).then_some(Power::Running),
        }
    }

    /// Whether a master runs, wherever it is. One that does not say so within `timeout` does not.
    pub(super) async fn lives(&self, nth: usize, timeout: Duration) -> bool {
        match self {
            Seats::Apart(Apart { own, ways, nodes, .. }) if *own != nth => match (ways.get(nth), nodes.get(nth)) {
                (Some(way), Some(node)) => way.describe(*node, timeout).await.is_ok(),
                _ => false,
            },
            _ => self.power(nth) == Some(Power::Running),
        }
    }

    /// What it is doing, as it changes.
    pub(super) fn watch(&self, nth: usize) -> Option<watch::Receiver<Life>> {
        match self {
            Seats::Together(group) => group.watch(nth),
            Seats::Apart(apart) => (apart.own == nth).then(|| apart.life.subscribe()),
        }
    }

    /// A master's node.
    pub(super) fn node(&self, nth: usize) -> Option<NodeId> {
        match self {
            Seats::Together(group) => group.node(nth),
            Seats::Apart(apart) => apart.nodes.get(nth).copied(),
        }
    }

    /// The master on a node.
    pub(super) fn replica_of(&self, node: NodeId) -> Option<usize> {
        match self {
            Seats::Together(group) => group.replica_of(node),
            Seats::Apart(apart) => apart.nodes.iter().position(|one| *one == node),
        }
    }

    /// Lets a master of this process go on without the only other one, if `judge` finds in its own log that it may.
    ///
    /// # Errors
    /// [`Fatal`] when its replica cannot start again.
    pub(super) async fn take_over(
        &self,
        nth: usize,
        judge: impl Fn(&Evidence<'_, MasterMachine>) -> bool + Send + Sync,
    ) -> Result<Result<(), TakeOverRefusal>, Fatal> {
        match self {
            Seats::Together(group) => group.take_over(nth, judge).await,
            Seats::Apart(apart) if apart.own == nth => {
                let hosting = apart.node.hosting();
                let (replica, outcome) = hosting.take_over(GROUP, MasterMachine::new(), judge).await?;
                *apart.held() = replica;
                Ok(outcome)
            }
            Seats::Apart(_) => Err(Fatal("that master is in another process".into())),
        }
    }

    /// Stops what is in this process.
    pub(super) async fn shutdown(&self) {
        match self {
            Seats::Together(group) => {
                group.shutdown().await;
                group.world().close().await;
            }
            Seats::Apart(apart) => apart.node.shutdown().await,
        }
    }
}
