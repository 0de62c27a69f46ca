//! A coordinator that runs: its shards, wherever they are, and what works on them.

use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use quorate_nodes::stdio::{ErrorReply, Failure};

use super::changes::Changes;
use super::cluster::Cluster;
use super::{CoordinatorOptions, OnServers};
use crate::data::{KvShardData, ServerShard, ShardData, ShardStore};
use crate::scatter::{Engine, EngineOptions, Shard};

/// How often to look for rows of dropped tables.
pub(super) const SWEEP: Duration = Duration::from_secs(1);

/// The same on servers, where others may look too, and groups that nobody uses are to rest.
const SWEEP_ON_SERVERS: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Running {
    /// The shards of this process.
    pub(super) cluster: Option<Cluster>,
    pub(super) changes: Changes,
}

impl Running {
    /// Starts a group for each name in this process.
    pub(super) async fn in_process(
        names: Vec<String>,
        options: &CoordinatorOptions,
        failure: &Failure,
    ) -> Result<Running, ErrorReply> {
        let cluster = Cluster::start(names, options.service.clone(), failure).await?;
        let data = cluster.data();
        let shard = |(name, data): &(String, Arc<KvShardData>)| {
            Shard::new(name.clone(), Arc::<KvShardData>::clone(data)).living(data.group().watch_whole())
        };
        let engine = engine(data.iter().map(shard).collect(), options.engine)?;
        let stores = data.into_iter().map(|(name, data)| (name, data as Arc<dyn ShardStore>)).collect();
        let changes = Changes::new(Arc::clone(cluster.env()), stores, engine, SWEEP);
        Ok(Running { cluster: Some(cluster), changes })
    }

    /// Goes by the groups of these names on servers. None of them is asked yet.
    pub(super) fn on_servers(
        groups: &[String],
        servers: &OnServers,
        options: EngineOptions,
    ) -> Result<Running, ErrorReply> {
        let data = ServerShard::all(groups, &servers.addresses, &servers.tls);
        let data = data.map_err(|error| ErrorReply::malformed(format!("{error:#}")))?;
        let named = || groups.iter().cloned().zip(data.iter().cloned());
        let shard = |(name, data): (String, Arc<ServerShard>)| Shard::new(name, data as Arc<dyn ShardData>);
        let engine = engine(named().map(shard).collect(), options)?;
        let stores = named().map(|(name, data)| (name, data as Arc<dyn ShardStore>)).collect();
        let env: Arc<dyn Env> = Arc::new(RealEnv);
        Ok(Running { cluster: None, changes: Changes::new(env, stores, engine, SWEEP_ON_SERVERS) })
    }
}

fn engine(shards: Vec<Shard>, options: EngineOptions) -> Result<Arc<Engine>, ErrorReply> {
    let engine = Engine::new(shards, options);
    engine.map(Arc::new).map_err(|error| ErrorReply::crash(format!("queries cannot be run: {error}")))
}
