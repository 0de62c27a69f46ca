//! How a client or a driver reaches a group: the seam between the store's logic and where its groups run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quorate::types::Index;
use quorate::{Consistency, ReadError, ReadReply, StateMachine, WriteError, Written};
use quorate_statemachines::Gid;
use quorate_statemachines::kv::KvMachine;

/// A group that can be asked through any of its replicas.
#[async_trait]
pub trait Reach<M: StateMachine>: Send + Sync + 'static {
    /// One attempt at a write, through the replica that `attempt` picks: 0 is the likeliest leader.
    async fn write(
        &self,
        command: &M::Command,
        timeout: Duration,
        attempt: usize,
    ) -> Result<Written<M::Reply>, WriteError>;

    /// One attempt at a read, through the replica that `attempt` picks.
    async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
        attempt: usize,
    ) -> Result<ReadReply<M::Answer>, ReadError>;

    /// Waits until some replica has applied more than `past`, at most for `timeout`. Answers what it has applied.
    async fn changed(&self, past: Option<Index>, timeout: Duration) -> Option<Index>;
}

/// Finds the group of a name.
pub trait Directory: Send + Sync + 'static {
    /// The group, if it is known here.
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>>;
}
