//! `quorate-sql query`: statements from a command line, carried out by a coordinator in this process over the shards that servers
//! have.
//!
//! Promises: what it shows is what the coordinator said, and it says which shards have no part in it; it fails where the
//! coordinator does.

mod show;

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use quorate_nodes::server::{ClientTls, tables};
use quorate_nodes::stdio::Code;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::service::{Coordinator, CoordinatorOptions, OnServers};

/// The longest that a statement may take besides the time of the shards.
const COMPUTING: Duration = Duration::from_secs(300);

/// A cluster of servers.
#[derive(Args, Clone, Debug)]
pub struct Cluster {
    /// Servers of the cluster (`host:port` of clients), separated by commas; the others are asked when one does not answer.
    #[arg(
        long,
        short,
        env = "QUORATE_SERVERS",
        default_value = "127.0.0.1:7001",
        value_delimiter = ',',
        global = true
    )]
    servers: Vec<String>,
    #[command(flatten)]
    tls: ClientTls,
    /// The groups that hold the shards, in their order. Without it, all that the configuration of the servers has.
    #[arg(long, value_delimiter = ',', global = true)]
    shards: Vec<String>,
}

/// `quorate-sql query`'s flags.
#[derive(Args, Clone, Debug)]
pub struct QueryFlags {
    /// JSON in place of tables: the body of each answer, one a line.
    #[arg(long)]
    json: bool,
    /// How long a shard may take, in milliseconds; one that takes longer is left out.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    /// An answer without some shard is an error.
    #[arg(long)]
    require_all: bool,
    /// The rows may be so many milliseconds old; some replica answers that can prove it.
    #[arg(long)]
    max_staleness: Option<u64>,
    /// The statements; without any, each line of standard input is one.
    statements: Vec<String>,
}

/// Carries the statements out, one after the other, until one fails; of those from standard input, all.
///
/// # Errors
/// What the coordinator said, or that there is no cluster.
pub async fn run(cluster: &Cluster, flags: &QueryFlags) -> anyhow::Result<()> {
    let Cluster { servers, tls, shards } = cluster;
    let groups = match shards.as_slice() {
        [] => tables(servers, tls, Duration::from_millis(flags.timeout)).await.context("which shards there are")?,
        named => named.to_vec(),
    };
    if groups.is_empty() {
        bail!("this cluster has no tables: its configuration names no group of the machine \"tables\"");
    }
    let on = OnServers { addresses: servers.clone(), tls: tls.clone() };
    let options = CoordinatorOptions { request_timeout: COMPUTING, servers: Some(on), ..CoordinatorOptions::default() };
    let coordinator = Coordinator::of_groups(&groups, options)?;
    if !flags.statements.is_empty() {
        for statement in &flags.statements {
            carry_out(&coordinator, statement, flags).await?;
        }
        return Ok(());
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut failed = 0;
    while let Some(line) = lines.next_line().await.context("cannot read standard input")? {
        let statement = line.trim().trim_end_matches(';');
        if !statement.is_empty()
            && let Err(error) = carry_out(&coordinator, statement, flags).await
        {
            eprintln!("{error:#}");
            failed += 1;
        }
    }
    match failed {
        0 => Ok(()),
        failed => bail!("{failed} statements have failed"),
    }
}

async fn carry_out(coordinator: &Coordinator, statement: &str, flags: &QueryFlags) -> anyhow::Result<()> {
    let mut body = json!({
        "type": "scatter_query", "query": statement, "timeout_ms": flags.timeout, "require_all": flags.require_all,
    });
    if let Some(bound) = flags.max_staleness {
        body["consistency"] = json!({ "max_staleness_ms": bound });
    }
    let answer = coordinator.ask(&body.to_string()).await;
    let said: Value = serde_json::from_str(&answer).context("the coordinator's answer")?;
    if flags.json {
        println!("{answer}");
    }
    if said["type"] == "error" {
        let may = if is_unknown(&said) { " (it may have happened)" } else { "" };
        bail!("{}{may}", show::error(&said));
    }
    if !flags.json {
        println!("{}", show::answer(&said));
    }
    Ok(())
}

/// Whether a change that failed so may have happened: also of some shards' parts.
fn is_unknown(error: &Value) -> bool {
    let open = [Code::Timeout, Code::Crash].map(Code::number);
    error["code"].as_u64().is_some_and(|code| open.contains(&code))
        && !matches!(error["reason"].as_str(), Some("incomplete" | "no_shard_answered" | "too_late" | "partial"))
}
