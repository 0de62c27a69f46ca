//! The rows of a shard of which this process has one replica: read from the replica's own machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate::types::Index;
use quorate::{Consistency, Group, NodeId, ReadError};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::KvMachine;
use tokio::time::Instant;

use super::cache::{Cache, CacheOptions};
use super::{KvView, ReadConsistency, ShardError};

/// How long one attempt may wait for the leader: it may have been asked in vain, or have lost its office.
const ATTEMPT: Duration = Duration::from_millis(400);

/// The pause before the next attempt.
const PAUSE: Duration = Duration::from_millis(10);

/// One replica of a shard's group.
pub struct ReplicaData {
    group: Group<KvMachine>,
    node: NodeId,
    cache: Arc<Cache>,
}

impl fmt::Debug for ReplicaData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaData").field("node", &self.node).finish_non_exhaustive()
    }
}

impl ReplicaData {
    /// What the replica on `node` has.
    pub fn new(group: Group<KvMachine>, node: NodeId, cache: CacheOptions) -> Self {
        ReplicaData { group, node, cache: Arc::new(Cache::new(cache)) }
    }

    /// The shard at one moment.
    ///
    /// # Errors
    /// [`ShardError`] when this replica cannot show it by the deadline.
    pub async fn look(
        &self,
        shard: ShardId,
        consistency: ReadConsistency,
        deadline: Instant,
    ) -> Result<Arc<KvView>, ShardError> {
        let mut failure = ShardError::Timeout;
        loop {
            for consistency in self.ways(consistency) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(failure);
                }
                match self.look_once(shard, consistency, left.min(ATTEMPT)).await {
                    Ok(view) => return Ok(view),
                    Err(error) => failure = error,
                }
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(failure);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How to ask the replica: a bound that it cannot prove is met by a read index.
    fn ways(&self, consistency: ReadConsistency) -> Vec<Consistency> {
        let leads = self.group.watch().borrow().leader == Some(self.node);
        let now = if leads { Consistency::Linearizable } else { Consistency::LinearizableHere };
        match consistency {
            ReadConsistency::Linearizable => vec![now],
            ReadConsistency::Bounded(bound) => vec![Consistency::Bounded(bound), now],
        }
    }

    async fn look_once(
        &self,
        shard: ShardId,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<Arc<KvView>, ShardError> {
        let reply = self.group.with_state(consistency, timeout, |machine: &KvMachine| machine.keys(shard)).await;
        let reply = reply.map_err(|error| match error {
            ReadError::Deadline(_) => ShardError::Timeout,
            ReadError::Rejected(cause) => ShardError::Unavailable(cause.to_string()),
            ReadError::Fatal(_) => ShardError::Unavailable("the replica has stopped".into()),
        })?;
        let keys = reply.answer.map_err(|refusal| ShardError::Unavailable(refusal.to_string()))?;
        KvView::new(keys, reply.proof.applied.unwrap_or(Index(0)), Arc::clone(&self.cache)).map(Arc::new)
    }
}
