//! The service of the binary `coordinator`: SQL over shards that are Raft groups in this process.
//!
//! Promises: an answer says which shards have no part in it; a statement that defines a table waits for everything above
//! it and is waited for.
//! Leaves out: shards in other processes, which are those of [`ScatterNode`].

mod apart;
mod changes;
mod cluster;
mod flags;
mod outcome;
mod request;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use quorate_nodes::services::ServiceOptions;
use quorate_nodes::stdio::{Call, ErrorReply, Fault, Init, Plan, Reply, Request, Service};

pub use self::apart::{Peers, ScatterNode, ScatterNodeOptions};
use self::changes::Changes;
use self::cluster::Cluster;
pub use self::flags::{EngineArgs, parse_peers};
use self::request::{Command, Scatter};
use crate::data::{KvShardData, ShardStore};
use crate::plan::Kind;
use crate::scatter::{Engine, EngineOptions, Query, Shard};

/// How a coordinator runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorOptions {
    /// How its groups run.
    pub service: ServiceOptions,
    /// How its queries run.
    pub engine: EngineOptions,
    /// How long a query may wait for its turn and compute, besides the time of the shards.
    pub request_timeout: Duration,
}

impl Default for CoordinatorOptions {
    fn default() -> Self {
        CoordinatorOptions {
            service: ServiceOptions::default(),
            engine: EngineOptions::default(),
            request_timeout: Duration::from_secs(2),
        }
    }
}

/// The service of the binary `coordinator`.
#[derive(Debug)]
pub struct Coordinator {
    options: CoordinatorOptions,
    running: OnceLock<Running>,
}

#[derive(Debug)]
struct Running {
    cluster: Cluster,
    changes: Changes,
}

impl Coordinator {
    /// A service that has not been initialised.
    pub fn new(options: CoordinatorOptions) -> Self {
        Coordinator { options, running: OnceLock::new() }
    }

    fn running(&self) -> Result<&Running, ErrorReply> {
        self.running.get().ok_or_else(|| ErrorReply::unavailable("not initialised").reason("not_initialised"))
    }
}

#[async_trait]
impl Service for Coordinator {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        request::plan(request, self.options.request_timeout)
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        init.node_id()?;
        let names = request::shards(init.fields())?;
        let (options, failure) = (self.options.clone(), init.failure.clone());
        // In a task of its own: groups that are half started must not be given up.
        let started = tokio::spawn(async move {
            let cluster = Cluster::start(names, options.service, &failure).await?;
            let data = cluster.data();
            let shard = |(name, data): &(String, Arc<KvShardData>)| {
                Shard::new(name.clone(), Arc::<KvShardData>::clone(data)).living(data.group().watch_whole())
            };
            let engine = Engine::new(data.iter().map(shard).collect(), options.engine);
            let engine = engine.map_err(|error| ErrorReply::crash(format!("queries cannot be run: {error}")))?;
            let tables = data.into_iter().map(|(name, data)| (name, data as Arc<dyn ShardStore>)).collect();
            let changes = Changes::new(Arc::clone(cluster.env()), tables, Arc::new(engine));
            Ok(Running { cluster, changes })
        });
        let running = started.await.unwrap_or_else(|error| Err(ErrorReply::crash(error.to_string())))?;
        let _ = self.running.set(running);
        Ok(())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        let Running { changes, .. } = self.running()?;
        let Command::Scatter(scatter) = command;
        statement(changes, scatter, &call).await
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        self.running()?.cluster.fault(fault).await
    }

    async fn shutdown(&self) {
        if let Some(running) = self.running.get() {
            running.cluster.shutdown().await;
        }
    }
}

/// Carries a statement out.
async fn statement(changes: &Changes, scatter: Scatter, call: &Call) -> Result<Reply, ErrorReply> {
    if matches!(scatter.kind, Kind::Change | Kind::Define) {
        return changes.carry_out(scatter, call.deadline).await;
    }
    let Scatter { sql, params, timeout, require_all, consistency, .. } = scatter;
    let query = Query { sql, params, consistency, timeout, deadline: call.deadline };
    outcome::reply(changes.engine().query(query).await, require_all)
}
