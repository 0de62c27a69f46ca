//! The rows of a shard whose replicas are on servers: read from a copy that follows them, written to over gRPC.
//!
//! Promises: a view is the shard at one moment, as fresh as it was asked for; a group that holds another shard than its place in
//! the list says is never read.
//! Leaves out: running a part of a query where the rows are: all of a shard's rows come here once, and then what changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use quorate::ReadError;
use quorate::env::RealEnv;
use quorate_nodes::kv::{DirectClient, KvError, Reach, Target};
use quorate_nodes::server::{ClientTls, GroupReach, ShardCopies};
use quorate_statemachines::kv::{Configure, KvMachine, Status};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::cache::{Cache, CacheOptions};
use super::{KvView, ReadConsistency, ShardData, ShardError, ShardStore, ShardView};

/// The largest part of a statement that is sent to a shard: what servers take in one message is 4 MiB.
const PART_BYTES_MAX: usize = 7 << 19;

/// A shard on servers.
pub struct ServerShard {
    gid: Gid,
    shard: ShardId,
    /// How many there are.
    shards: u32,
    way: GroupReach<KvMachine>,
    copies: ShardCopies,
    client: DirectClient,
    /// That the group holds this shard.
    held: OnceCell<()>,
    cache: Arc<Cache>,
}

impl fmt::Debug for ServerShard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerShard").field("group", &self.gid).field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl ServerShard {
    /// The shards that these groups of the machine [`TABLES`](quorate_nodes::server::TABLES) hold, each the one of its place in the
    /// list. A group that is new is told so when it is first asked; nothing is asked before.
    ///
    /// # Errors
    /// When an address of a server is none, or a certificate cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn all(groups: &[String], servers: &[String], tls: &ClientTls) -> anyhow::Result<Vec<Arc<ServerShard>>> {
        let shards = u32::try_from(groups.len())?;
        let shard = |(group, number): (&String, u32)| {
            Ok(Arc::new(ServerShard {
                gid: Gid::new(group.as_str()),
                shard: ShardId(number),
                shards,
                way: GroupReach::new(group, servers, tls)?,
                copies: ShardCopies::new(group, ShardId(number), servers, tls)?,
                client: DirectClient::new(Arc::new(RealEnv)),
                held: OnceCell::new(),
                cache: Arc::new(Cache::new(CacheOptions::default())),
            }))
        };
        groups.iter().zip(0..).map(shard).collect()
    }

    /// Makes sure that the group holds this shard: one without a configuration gets its first and only one.
    async fn hold(&self, deadline: Instant) -> Result<(), ShardError> {
        let target = Target { gid: &self.gid, group: &self.way };
        let mut status = self.status(target, deadline).await?;
        if status.number == ConfigNumber(0) {
            let config = Configure {
                number: ConfigNumber(1),
                previous: ConfigNumber(0),
                shards: BTreeSet::from([self.shard]),
                shard_count: self.shards,
                sources: BTreeMap::new(),
                targets: BTreeMap::new(),
            };
            // Another coordinator may have told it something else: what it is says the status.
            self.client.configure(target, &config, left(deadline)).await.map_err(unheld)?;
            status = self.status(target, deadline).await?;
        }
        if status.shard_count == self.shards && status.shards.contains_key(&self.shard) {
            return Ok(());
        }
        let held: Vec<String> = status.shards.keys().map(|shard| (shard.0 + 1).to_string()).collect();
        Err(ShardError::Failed(format!(
            "group {} is shard {} of {}, and is not to be taken for shard {} of {}: name the same groups in the same order",
            self.gid,
            held.join(", "),
            status.shard_count,
            self.shard.0 + 1,
            self.shards
        )))
    }

    async fn status(&self, target: Target<'_>, deadline: Instant) -> Result<Status, ShardError> {
        let status = self.client.status(target, left(deadline)).await;
        status.map(|(status, _)| status).map_err(unheld)
    }
}

fn left(deadline: Instant) -> std::time::Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn unheld(error: KvError) -> ShardError {
    match error {
        KvError::NoAnswer(_) => ShardError::Timeout,
        error => ShardError::Unavailable(error.to_string()),
    }
}

#[async_trait]
impl ShardData for ServerShard {
    async fn view(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<dyn ShardView>, ShardError> {
        Ok(self.look(consistency, deadline).await?)
    }
}

#[async_trait]
impl ShardStore for ServerShard {
    async fn look(&self, consistency: ReadConsistency, deadline: Instant) -> Result<Arc<KvView>, ShardError> {
        self.held.get_or_try_init(|| self.hold(deadline)).await?;
        let bound = match consistency {
            ReadConsistency::Linearizable => None,
            ReadConsistency::Bounded(bound) => Some(bound),
        };
        let copy = self.copies.get(bound, left(deadline)).await.map_err(|error| match error {
            ReadError::Deadline(_) => ShardError::Timeout,
            error => ShardError::Unavailable(error.to_string()),
        })?;
        KvView::new(copy.keys, copy.applied, Arc::clone(&self.cache)).map(Arc::new)
    }

    fn shard(&self) -> ShardId {
        self.shard
    }

    fn reach(&self) -> &dyn Reach<KvMachine> {
        &self.way
    }

    fn part_bytes_max(&self) -> usize {
        PART_BYTES_MAX
    }
}
