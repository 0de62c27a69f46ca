//! The rows of a shard whose replicas are in this process: read from a replica's own machine, not through messages.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use quorate::types::Index;
use quorate::{Consistency, ReadError};
use quorate_nodes::embedded::{EmbeddedGroup, Power};
use quorate_nodes::kv::Reach;
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::KvMachine;
use tokio::time::Instant;

use super::cache::{Cache, CacheOptions};
use super::{KvView, ReadConsistency, ShardData, ShardError, ShardStore, ShardView};

/// How long to wait before a shard without a leader is asked again.
const PAUSE: Duration = Duration::from_millis(2);

/// One replica is waited for at least so long, if the deadline allows it, before another one is asked.
const PATIENCE_MIN: Duration = Duration::from_millis(100);

/// A shard in this process.
pub struct KvShardData {
    group: Arc<EmbeddedGroup<KvMachine>>,
    shard: ShardId,
    cache: CacheOptions,
    /// By replica, since only versions of one machine share their structure.
    caches: Mutex<BTreeMap<usize, Arc<Cache>>>,
    /// Turns: which follower is asked next.
    next: AtomicUsize,
}

impl fmt::Debug for KvShardData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvShardData").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl KvShardData {
    /// The rows of `shard`, which `group` serves. Each replica that is read has a cache of its own.
    pub fn new(group: Arc<EmbeddedGroup<KvMachine>>, shard: ShardId, cache: CacheOptions) -> Self {
        KvShardData { group, shard, cache, caches: Mutex::default(), next: AtomicUsize::new(0) }
    }

    /// The group that serves it.
    pub fn group(&self) -> &Arc<EmbeddedGroup<KvMachine>> {
        &self.group
    }

    /// Which replicas to ask, and how.
    fn candidates(&self, consistency: ReadConsistency) -> Vec<(usize, Consistency)> {
        let runs = |replica: &usize| self.group.power(*replica) == Some(Power::Running);
        let replicas = self.group.replicas();
        let leader = self.group.leader().filter(runs);
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let others = (0..replicas).map(|nth| (nth + turn) % replicas).filter(|replica| Some(*replica) != leader);
        let others = others.filter(runs);
        let leader = leader.map(|leader| (leader, Consistency::Linearizable));
        match consistency {
            ReadConsistency::Linearizable => {
                leader.into_iter().chain(others.map(|replica| (replica, Consistency::LinearizableHere))).collect()
            }
            ReadConsistency::Bounded(bound) => {
                others.map(|replica| (replica, Consistency::Bounded(bound))).chain(leader).collect()
            }
        }
    }

    fn all_stopped(&self) -> bool {
        (0..self.group.replicas()).all(|replica| self.group.power(replica) == Some(Power::Stopped))
    }

    async fn look_at(
        &self,
        replica: usize,
        consistency: Consistency,
        timeout: Duration,
    ) -> Result<Arc<KvView>, ShardError> {
        let stopped = || ShardError::Unavailable("the replica is stopped".into());
        let group = self.group.running(replica).ok_or_else(stopped)?;
        let shard = self.shard;
        let reply = group.with_state(consistency, timeout, |machine: &KvMachine| machine.keys(shard)).await;
        let reply = reply.map_err(|error| match error {
            ReadError::Deadline(_) => ShardError::Timeout,
            ReadError::Rejected(cause) => ShardError::Unavailable(cause.to_string()),
            ReadError::Fatal(_) => stopped(),
        })?;
        let keys = reply.answer.map_err(|refusal| ShardError::Unavailable(refusal.to_string()))?;
        KvView::new(keys, reply.proof.applied.unwrap_or(Index(0)), self.cache_of(replica)).map(Arc::new)
    }

    fn cache_of(&self, replica: usize) -> Arc<Cache> {
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(caches.entry(replica).or_insert_with(|| Arc::new(Cache::new(self.cache))))
    }
}

#[async_trait]
impl ShardData for KvShardData {
    async fn view(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<dyn ShardView>, ShardError> {
        Ok(self.look(consistency, deadline).await?)
    }
}

#[async_trait]
impl ShardStore for KvShardData {
    async fn look(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<KvView>, ShardError> {
        let mut failure = ShardError::Timeout;
        loop {
            let candidates = self.candidates(consistency);
            if candidates.is_empty() && self.all_stopped() {
                return Err(ShardError::Unavailable("all replicas are stopped".into()));
            }
            for (replica, consistency) in candidates {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(failure);
                }
                match self.look_at(replica, consistency, left.min((left / 2).max(PATIENCE_MIN))).await {
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

    fn shard(&self) -> ShardId {
        self.shard
    }

    fn reach(&self) -> &dyn Reach<KvMachine> {
        self.group.as_ref()
    }
}
