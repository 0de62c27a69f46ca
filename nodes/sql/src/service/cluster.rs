//! The shards: groups in this process, each of which holds one shard of the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use quorate::GroupOptions;
use quorate::env::Env;
use quorate_nodes::embedded::EmbeddedGroup;
use quorate_nodes::kv::{DirectClient, ShardGroups, StoreOptions, Target};
use quorate_nodes::services::ServiceOptions;
use quorate_nodes::services::targets::{self, LeadersHit, Which};
use quorate_nodes::stdio::{ErrorReply, Failure, Fault};
use quorate_statemachines::kv::{Configure, KvMachine};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use crate::data::{CacheOptions, KvShardData};

/// How long to wait for a shard's first leader. Without one it starts all the same.
const FIRST_LEADER: Duration = Duration::from_secs(1);

/// How long a group may take to learn which shard it holds.
const CONFIGURED: Duration = Duration::from_secs(60);

/// The shards of a coordinator, in their order.
pub(super) struct Cluster {
    groups: Arc<ShardGroups>,
    gids: Vec<Gid>,
    leaders_hit: LeadersHit,
    env: Arc<dyn Env>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("shards", &self.gids).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Clocks, randomness, tasks.
    pub(super) fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// Starts a group for each name; the nth holds shard n.
    pub(super) async fn start(
        names: Vec<String>,
        options: ServiceOptions,
        failure: &Failure,
    ) -> Result<Self, ErrorReply> {
        let (replicas, group) = (Some(options.replicas), GroupOptions::default());
        let world = options.open("coordinator", names.clone(), replicas, group, failure).await?;
        let store = StoreOptions { replicas: options.replicas, ..StoreOptions::default() };
        let groups = Arc::new(ShardGroups::new(world.clone(), &store, None));
        let gids: Vec<Gid> = names.into_iter().map(Gid::new).collect();
        let cluster = Cluster { groups, gids, leaders_hit: LeadersHit::default(), env: Arc::clone(world.env()) };
        let started = cluster.configure(&DirectClient::new(Arc::clone(world.env()))).await;
        if started.is_err() {
            cluster.shutdown().await;
        }
        started.map(|()| cluster)
    }

    async fn configure(&self, client: &DirectClient) -> Result<(), ErrorReply> {
        self.groups.ensure(self.gids.clone()).await.map_err(targets::failed)?;
        let shard_count = u32::try_from(self.gids.len()).unwrap_or(u32::MAX);
        let configured = self.members().zip(0..).map(|((gid, group), number)| async move {
            group.led(FIRST_LEADER).await;
            let config = Configure {
                number: ConfigNumber(1),
                previous: ConfigNumber(0),
                shards: BTreeSet::from([ShardId(number)]),
                shard_count,
                sources: BTreeMap::new(),
                targets: BTreeMap::new(),
            };
            client.configure(Target { gid, group: group.as_ref() }, &config, CONFIGURED).await
        });
        try_join_all(configured).await?;
        Ok(())
    }

    fn members(&self) -> impl Iterator<Item = (&Gid, Arc<EmbeddedGroup<KvMachine>>)> {
        self.gids.iter().filter_map(|gid| Some((gid, self.groups.get(gid)?)))
    }

    /// The shards with their rows.
    pub(super) fn data(&self) -> Vec<(String, Arc<KvShardData>)> {
        let data = |((gid, group), number): ((&Gid, Arc<EmbeddedGroup<KvMachine>>), u32)| {
            (gid.0.to_string(), Arc::new(KvShardData::new(group, ShardId(number), CacheOptions::default())))
        };
        self.members().zip(0..).map(data).collect()
    }

    /// Does something to a shard, or to one of its replicas.
    pub(super) async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        let Fault { action, target } = fault;
        let whole = Gid::new(&*target);
        let (gid, which) = match self.groups.get(&whole) {
            Some(_) => (whole, Which::Whole),
            None => {
                let (name, which) = targets::parse(&target);
                (Gid::new(name), which)
            }
        };
        let group = self.groups.get(&gid).ok_or_else(|| targets::unknown(&target))?;
        let hit = self.leaders_hit.replicas(&group, which, &target, action).await?;
        let faults = hit.into_iter().map(|nth| self.groups.fault(&gid, nth, targets::replica_fault(action)));
        join_all(faults).await.into_iter().collect::<Result<Vec<()>, _>>().map_err(targets::failed)?;
        Ok(())
    }

    pub(super) async fn shutdown(&self) {
        self.groups.shutdown().await;
    }
}
