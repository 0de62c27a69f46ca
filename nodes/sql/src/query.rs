//! The coordinator behind command lines: in the process of `quorate-sql query`, or in that of a server, for `quorate ctl query`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use clap::Args;
use quorate_nodes::query::{self, Manner, Queries, Statements};
use quorate_nodes::server::{ClientTls, ClusterFlags, ServerConfig, TABLES, tables};

use crate::scatter::EngineOptions;
use crate::service::{Coordinator, CoordinatorOptions, OnServers};

/// The longest that a statement may take besides the time of the shards.
const COMPUTING: Duration = Duration::from_secs(300);

/// `quorate-sql query`'s flags.
#[derive(Args, Clone, Debug)]
pub struct QueryFlags {
    /// JSON in place of tables: the body of each answer, one a line.
    #[arg(long)]
    json: bool,
    /// How long a shard may take, in milliseconds; one that takes longer is left out.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// The groups that hold the shards, in their order. Without it, all that the configuration of the servers has.
    #[arg(long, value_delimiter = ',')]
    shards: Vec<String>,
    #[command(flatten)]
    statements: Statements,
}

#[async_trait]
impl Queries for Coordinator {
    async fn answer(&self, body: &str) -> anyhow::Result<String> {
        Ok(self.ask(body).await)
    }
}

/// Carries the statements out, one after the other, until one fails; of those from standard input, all.
///
/// # Errors
/// What the coordinator said, or that there is no cluster.
pub async fn run(cluster: &ClusterFlags, flags: &QueryFlags) -> anyhow::Result<()> {
    let ClusterFlags { servers, tls } = cluster;
    let groups = match flags.shards.as_slice() {
        [] => tables(servers, tls, Duration::from_millis(flags.timeout)).await.context("which shards there are")?,
        named => named.to_vec(),
    };
    if groups.is_empty() {
        bail!("this cluster has no tables: its configuration names no group of the machine \"tables\"");
    }
    let coordinator = coordinator(&groups, servers.clone(), tls.clone(), EngineOptions::default())?;
    query::run(&coordinator, &flags.statements, Manner { json: flags.json, timeout_ms: flags.timeout }).await
}

/// The coordinator of a server of this configuration; none where that has no tables. It is a client of all the servers, this one
/// too, and trusts them by `tls`.
///
/// # Errors
/// When a certificate cannot be read.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn role(config: &ServerConfig, tls: ClientTls, engine: EngineOptions) -> anyhow::Result<Option<Arc<dyn Queries>>> {
    let of_tables = config.groups.iter().filter(|group| group.machine == TABLES);
    let groups: Vec<String> = of_tables.map(|group| group.name.clone()).collect();
    if groups.is_empty() {
        return Ok(None);
    }
    let servers = config.nodes.iter().map(|node| node.client.to_string()).collect();
    Ok(Some(Arc::new(coordinator(&groups, servers, tls, engine)?)))
}

fn coordinator(
    groups: &[String],
    addresses: Vec<String>,
    tls: ClientTls,
    engine: EngineOptions,
) -> anyhow::Result<Coordinator> {
    let options = CoordinatorOptions {
        engine,
        request_timeout: COMPUTING,
        servers: Some(OnServers { addresses, tls }),
        ..CoordinatorOptions::default()
    };
    Ok(Coordinator::of_groups(groups, options)?)
}
