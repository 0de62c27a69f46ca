//! The way of this node to a group: through its own replica if it has one, else through the nodes that have.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use quorate::{
    Consistency, Group, Index, NodeId, ReadError, ReadReply, RemoteGroup, StateMachine, WriteError, WriteOptions,
    Written,
};

use crate::kv::Reach;

/// A group, wherever its replicas are.
pub struct Served<M> {
    here: RwLock<Option<Here<M>>>,
    remote: RemoteGroup<M>,
    node: NodeId,
}

/// The replica on this node.
struct Here<M> {
    group: Group<M>,
    /// It is not to be here much longer: it may hear of nothing any more, and is not asked.
    leaves: bool,
}

impl<M: StateMachine> Served<M> {
    /// A group that has no replica on this node, or none yet.
    pub fn elsewhere(node: NodeId, remote: RemoteGroup<M>) -> Self {
        Served { here: RwLock::default(), remote, node }
    }

    /// From now on it has one here.
    pub fn is_here(&self, group: Group<M>) {
        *self.here.write().unwrap_or_else(PoisonError::into_inner) = Some(Here { group, leaves: false });
    }

    /// Whether the replica here is to go soon.
    pub fn leaves(&self, leaves: bool) {
        if let Some(here) = self.here.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            here.leaves = leaves;
        }
    }

    /// From now on it has none here.
    pub fn is_gone(&self) {
        *self.here.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The replica on this node, as one to ask.
    pub fn here(&self) -> Option<Group<M>> {
        let here = self.here.read().unwrap_or_else(PoisonError::into_inner);
        here.as_ref().filter(|here| !here.leaves).map(|here| here.group.clone())
    }

    /// The replica that runs on this node, also one that is about to go.
    pub fn running(&self) -> Option<Group<M>> {
        self.here.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|here| here.group.clone())
    }

    /// The way to all replicas.
    pub fn remote(&self) -> &RemoteGroup<M> {
        &self.remote
    }

    /// The own replica, if it is the one to ask at this attempt.
    fn here_at(&self, attempt: usize) -> Option<Group<M>> {
        self.here().filter(|_| attempt.is_multiple_of(2))
    }
}

#[async_trait]
impl<M: StateMachine> Reach<M> for Served<M> {
    async fn write(
        &self,
        command: &M::Command,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<M::Reply>, WriteError> {
        let options = WriteOptions { session: None, timeout };
        match self.here_at(attempt) {
            Some(group) => group.write(command, options).await,
            None => self.remote.write(command, options).await,
        }
    }

    async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<M::Answer>, ReadError> {
        if let Consistency::Linearizable | Consistency::Lease = consistency {
            return match self.here_at(attempt) {
                Some(group) => group.read(consistency, query, timeout).await,
                None => self.remote.read(consistency, query, timeout, None).await,
            };
        }
        // A replica of a certain kind is meant: the leader at attempt 0, then the others, this node's own first.
        if attempt == 0 {
            return match self.here().filter(|group| group.watch().borrow().leader == Some(self.node)) {
                Some(group) => group.read(consistency, query, timeout).await,
                None => self.remote.read(consistency, query, timeout, None).await,
            };
        }
        match self.here() {
            Some(group) if attempt == 1 => group.read(consistency, query, timeout).await,
            _ => self.remote.read(consistency, query, timeout, Some(attempt)).await,
        }
    }

    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index> {
        match self.here() {
            Some(group) => {
                group.wait_applied(past.map_or(Index(0), Index::next), timeout).await;
                group.applied()
            }
            None => self.remote.wait_applied(past, timeout).await,
        }
    }
}
