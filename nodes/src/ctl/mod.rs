//! `quorate ctl`: a cluster from the outside, with tables for people and JSON for programs.
//!
//! Promises: what it prints is what a server said; it fails where the server does, and says whether a change can have
//! happened.

mod masters;
mod nodes;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::query::{self, Manner, Statements};
use crate::server::proto::change_reply::Outcome;
use crate::server::proto::change_request::Change;
use crate::server::proto::quorate_client::QuorateClient;
use crate::server::proto::{self, ChangeRequest};
use crate::server::{ClientTls, ClusterFlags, RemoteQueries, is_unknown};

/// `quorate ctl`'s flags.
#[derive(Args, Clone, Debug)]
pub struct CtlFlags {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// JSON in place of tables.
    #[arg(long, global = true)]
    json: bool,
    /// How long a call may take, in milliseconds.
    #[arg(long, default_value_t = 5000, global = true)]
    timeout: u64,
    #[command(subcommand)]
    command: Ctl,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
enum Ctl {
    /// Every group on every server: who leads, how far each replica is, which peers see each other.
    Status,
    /// Who serves which shard.
    Config,
    /// A key's value.
    Get {
        /// The key.
        key: String,
        /// Some replica may answer that can prove its state to be at most so many milliseconds old.
        #[arg(long)]
        max_staleness: Option<u64>,
    },
    /// Gives a key a value.
    Put {
        /// The key.
        key: String,
        /// JSON, or else a text.
        value: String,
    },
    /// Appends to a text or an array.
    Append {
        /// The key.
        key: String,
        /// JSON, or else a text.
        value: String,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Gives a key another value if it has the expected one.
    Cas {
        /// The key.
        key: String,
        /// The value expected: JSON, or else a text.
        from: String,
        /// The new one.
        to: String,
        /// If there is no such key, it is made.
        #[arg(long)]
        create: bool,
    },
    /// Keys and values, in the order of the keys.
    Scan {
        /// Only keys that begin so.
        #[arg(long)]
        prefix: Option<String>,
        /// Only keys from this one on.
        #[arg(long)]
        from: Option<String>,
        /// Only keys before this one.
        #[arg(long)]
        to: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// New groups take their part of the shards: `join g1=1,2,3 g2=2,3,4`.
    Join {
        /// Groups with the nodes that replicate them.
        #[arg(required = true)]
        groups: Vec<String>,
        /// How many shards there are; counts only before the first configuration.
        #[arg(long, default_value_t = 16)]
        shards: u32,
    },
    /// Groups give their shards to those that stay.
    Leave {
        /// Their names.
        #[arg(required = true)]
        groups: Vec<String>,
    },
    /// One shard goes to a group.
    Move {
        /// The shard.
        shard: u32,
        /// The group.
        group: String,
    },
    #[command(flatten)]
    Nodes(nodes::NodesCommand),
    #[command(flatten)]
    Masters(masters::MastersCommand),
    /// Carries out statements of SQL, on servers that can (`quorate-sql server`); `--timeout` is for each shard.
    Query(Statements),
    /// Hands a group's leadership to a node.
    Transfer {
        /// The group; `controller` is the configuration log's, `masters` the masters'.
        group: String,
        /// The node.
        to: u64,
    },
    /// Copies all groups into a directory, while they are written to; `quorate restore` makes a new cluster of it.
    Backup {
        /// Where to. It is to be new, or empty.
        dir: PathBuf,
    },
    /// Has every server take a snapshot of a group.
    Snapshot {
        /// The group; `controller` is the configuration log's.
        group: String,
    },
}

/// How long a server may take to reach the configuration log before another one is asked.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

type Client = QuorateClient<Channel>;

/// Does what the flags say.
///
/// # Errors
/// What the server said, or that none answered.
pub async fn run(flags: &CtlFlags) -> anyhow::Result<()> {
    let ClusterFlags { servers, tls } = &flags.cluster;
    let clients: Vec<(String, Client)> =
        servers.iter().map(|server| Ok((server.clone(), client(server, tls)?))).collect::<anyhow::Result<_>>()?;
    let timeout_ms = flags.timeout;
    if let Ctl::Status = flags.command {
        return status(&clients, flags).await;
    }
    if let Ctl::Snapshot { group } = &flags.command {
        return snapshot(&clients, group).await;
    }
    if let Ctl::Backup { dir } = &flags.command {
        return backup(&clients, dir, flags).await;
    }
    if let Ctl::Nodes(command) = &flags.command {
        nodes::run(&clients, command, flags.json).await?.print(flags.json);
        return Ok(());
    }
    if let Ctl::Masters(command) = &flags.command {
        let timeout = Duration::from_millis(flags.timeout);
        masters::run(servers, tls, command, timeout).await?.print(flags.json);
        return Ok(());
    }
    if let Ctl::Query(statements) = &flags.command {
        let coordinators = RemoteQueries::new(servers, tls)?;
        let manner = Manner { json: flags.json, timeout_ms: flags.timeout.max(1) };
        return query::run(&coordinators, statements, manner).await;
    }
    let mut client = first(&clients).await?;
    let said = match flags.command.clone() {
        Ctl::Get { key, max_staleness } => {
            let request = proto::GetRequest { key, max_staleness_ms: max_staleness, timeout_ms };
            show::value(client.get(request).await.map_err(unanswered)?.into_inner())?
        }
        Ctl::Put { key, value } => change(&mut client, key, Change::Put(text(value)), timeout_ms).await?,
        Ctl::Append { key, value } => change(&mut client, key, Change::Append(text(value)), timeout_ms).await?,
        Ctl::Delete { key } => change(&mut client, key, Change::Delete(proto::Delete {}), timeout_ms).await?,
        Ctl::Cas { key, from, to, create } => {
            let cas = proto::Cas { from: text(from), to: text(to), create_if_not_exists: create };
            change(&mut client, key, Change::Cas(cas), timeout_ms).await?
        }
        Ctl::Scan { prefix, from, to, limit } => {
            let request = proto::ScanRequest { from, to, prefix, limit: Some(limit), timeout_ms };
            show::items(client.scan(request).await.map_err(unanswered)?.into_inner())?
        }
        Ctl::Config => show::configuration(
            client.configuration(proto::ConfigurationRequest {}).await.map_err(unanswered)?.into_inner(),
        ),
        Ctl::Join { groups, shards } => {
            let groups = groups.iter().map(|group| joining(group)).collect::<anyhow::Result<_>>()?;
            show::numbered(client.join(proto::JoinRequest { groups, shards }).await.map_err(told)?.into_inner())
        }
        Ctl::Leave { groups } => {
            show::numbered(client.leave(proto::LeaveRequest { groups }).await.map_err(told)?.into_inner())
        }
        Ctl::Move { shard, group } => {
            show::numbered(client.r#move(proto::MoveRequest { shard, group }).await.map_err(told)?.into_inner())
        }
        Ctl::Transfer { group, to } => {
            client.transfer(proto::TransferRequest { group, to, timeout_ms }).await.map_err(told)?;
            show::Said { json: json!({ "leader": to }), text: format!("node {to} leads") }
        }
        Ctl::Status | Ctl::Snapshot { .. } | Ctl::Backup { .. } | Ctl::Nodes(_) | Ctl::Masters(_) | Ctl::Query(_) => {
            return Ok(());
        }
    };
    said.print(flags.json);
    Ok(())
}

fn client(server: &str, tls: &ClientTls) -> anyhow::Result<Client> {
    let endpoint = tls.endpoint(server)?;
    Ok(QuorateClient::new(endpoint.connect_timeout(Duration::from_secs(2)).connect_lazy()))
}

/// The first server that reaches the configuration log; if none does, the first that answers. One that is cut off, or was
/// removed from its cluster, answers too.
async fn first(clients: &[(String, Client)]) -> anyhow::Result<Client> {
    let (mut cut_off, mut last) = (None, None);
    for (_, client) in clients {
        let mut asked = client.clone();
        let mut request = tonic::Request::new(proto::ConfigurationRequest {});
        request.set_timeout(PATIENCE);
        match asked.configuration(request).await {
            Ok(_) => return Ok(asked),
            Err(_) if asked.status(proto::StatusRequest {}).await.is_ok() => cut_off = cut_off.or(Some(asked)),
            Err(status) => last = Some(status),
        }
    }
    let names: Vec<_> = clients.iter().map(|(server, _)| server.as_str()).collect();
    let reason = last.map(|status| format!(": {}", status.message())).unwrap_or_default();
    cut_off.with_context(|| format!("no server answers at {}{reason}", names.join(", ")))
}

async fn status(clients: &[(String, Client)], flags: &CtlFlags) -> anyhow::Result<()> {
    // Servers name each other's peers but not their clients' addresses, so each one that was named is asked.
    let asked = clients.iter().map(|(server, client)| async move {
        let answer = client.clone().status(proto::StatusRequest {}).await;
        (server.clone(), answer.map(tonic::Response::into_inner))
    });
    let answers = futures::future::join_all(asked).await;
    let all_silent = answers.iter().all(|(_, answer)| answer.is_err());
    show::status(&answers).print(flags.json);
    if all_silent {
        bail!("no server answers");
    }
    Ok(())
}

async fn snapshot(clients: &[(String, Client)], group: &str) -> anyhow::Result<()> {
    let mut taken = 0;
    for (server, client) in clients {
        match client.clone().snapshot(proto::SnapshotRequest { group: group.to_owned() }).await {
            Ok(_) => {
                taken += 1;
                println!("{server}: taken");
            }
            Err(status) => println!("{server}: {}", status.message()),
        }
    }
    if taken == 0 {
        bail!("no snapshot of {group} was taken");
    }
    Ok(())
}

async fn backup(clients: &[(String, Client)], dir: &Path, flags: &CtlFlags) -> anyhow::Result<()> {
    let servers: Vec<Client> = clients.iter().map(|(_, client)| client.clone()).collect();
    let progress = |line| {
        if !flags.json {
            println!("{line}");
        }
    };
    crate::backup::make(&servers, dir, Duration::from_millis(flags.timeout), progress).await?;
    let text = format!("a backup is in {}", dir.display());
    show::Said { json: json!({ "backup": dir.display().to_string() }), text }.print(flags.json);
    Ok(())
}

async fn change(client: &mut Client, key: String, change: Change, timeout_ms: u64) -> anyhow::Result<show::Said> {
    let request = ChangeRequest { key, change: Some(change), session: None, timeout_ms };
    let reply = client.change(request).await.map_err(told)?.into_inner();
    match reply.outcome() {
        Outcome::Done => Ok(show::Said { json: json!({ "outcome": "done" }), text: "done".into() }),
        Outcome::Absent => bail!("there is no such key"),
        Outcome::Missing => bail!("there is no such key: nothing changed"),
        Outcome::Different => bail!("the value is another one: nothing changed"),
        Outcome::NotAppendable => bail!("these values do not go together: nothing changed"),
        Outcome::Unspecified => bail!("the server gave no outcome"),
    }
}

/// `g1=1,2,3`.
fn joining(text: &str) -> anyhow::Result<proto::Group> {
    let (name, nodes) = text.split_once('=').with_context(|| format!("{text:?} is not like g1=1,2,3"))?;
    let nodes = nodes.split(',').map(|node| node.trim().parse::<u64>());
    let nodes = nodes.collect::<Result<_, _>>().with_context(|| format!("{text:?} is not like g1=1,2,3"))?;
    Ok(proto::Group { name: name.to_owned(), nodes })
}

/// A value as JSON: what is none is a text.
fn text(value: String) -> String {
    match serde_json::from_str::<Value>(&value) {
        Ok(_) => value,
        Err(_) => Value::String(value).to_string(),
    }
}

/// What a failed question says: it changed nothing.
fn unanswered(status: tonic::Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

/// What a failed call says, and whether it can have happened.
fn told(status: tonic::Status) -> anyhow::Error {
    let may = if is_unknown(&status) { " (it may have happened)" } else { "" };
    anyhow::anyhow!("{}{may}", status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_a_text() {
        assert_eq!(text("17".into()), "17");
        assert_eq!(text("{\"a\":1}".into()), "{\"a\":1}");
        assert_eq!(text("hello".into()), "\"hello\"");
    }

    #[test]
    fn groups_that_join_are_named_with_their_nodes() {
        assert_eq!(joining("g1=1, 2,3").expect("a group").nodes, [1, 2, 3]);
        assert!(joining("g1").is_err());
        assert!(joining("g1=a").is_err());
    }
}
