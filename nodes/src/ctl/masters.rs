//! Masters as operators ask of them: who is the primary, how far its shadows are, and that another one is to be.

use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::show::{Said, table};
use crate::server::{ClientTls, MastersClient};

/// How long a failover may take beyond what the call may.
const FAILOVER: Duration = Duration::from_secs(15);

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum MastersCommand {
    /// The masters: who is the primary of which epoch, and how far its shadows are behind.
    Masters,
    /// Another master takes the primary's place, which may be dead.
    Failover {
        /// Which; the one that is furthest if it is not said.
        #[arg(long)]
        to: Option<String>,
    },
}

/// Does it.
///
/// # Errors
/// What the masters said, or that none answered.
pub(super) async fn run(
    servers: &[String],
    tls: &ClientTls,
    command: &MastersCommand,
    timeout: Duration,
) -> anyhow::Result<Said> {
    let client = MastersClient::new("ctl", servers, tls)?;
    client.masters().await?;
    let status = client.call(json!({ "type": "shadow_status" }), timeout).await?;
    match command {
        MastersCommand::Masters => {
            let masters = client.masters().await?;
            let epoch = masters.primary.map(|primary| primary.epoch);
            let nodes: Vec<(String, u64)> = masters.masters.into_iter().map(|one| (one.name, one.node)).collect();
            Ok(shown(&status, epoch, &nodes))
        }
        MastersCommand::Failover { to } => {
            let failed = status["primary"].as_str().context("nobody knows of a primary")?;
            let mut body = json!({ "type": "trigger_failover", "failed_master": failed });
            if let Some(to) = to {
                body["to"] = json!(to);
            }
            let reply = client.call(body, timeout + FAILOVER).await?;
            let new = reply["new_primary"].as_str().unwrap_or_default();
            let text = format!(
                "{new} is the primary, after {} ms and {} entries",
                reply["failover_time_ms"], reply["wal_entries_replayed"]
            );
            let json = json!({
                "primary": new, "failover_time_ms": reply["failover_time_ms"],
                "wal_entries_replayed": reply["wal_entries_replayed"],
            });
            Ok(Said { json, text })
        }
    }
}

fn shown(status: &Value, epoch: Option<u64>, nodes: &[(String, u64)]) -> Said {
    let primary = status["primary"].as_str();
    let shadow = |name: &str| {
        let mut shadows = status["shadows"].as_array().into_iter().flatten();
        shadows.find(|shadow| shadow["node"] == name).cloned().unwrap_or_default()
    };
    let mut text = table(&["master", "node", "role", "entries behind", "at most ms old"]);
    let mut masters = Vec::new();
    for (name, node) in nodes {
        let known = shadow(name);
        let role = match (primary == Some(name), known["alive"] == true) {
            (true, _) => "primary",
            (false, true) => "shadow",
            (false, false) => "silent",
        };
        let number = |field: &str| known[field].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string());
        text.add_row([name.clone(), node.to_string(), role.into(), number("wal_lag_entries"), number("wal_lag_ms")]);
        masters.push(json!({
            "name": name, "node": node, "role": role, "wal_lag_entries": known["wal_lag_entries"],
            "wal_lag_ms": known["wal_lag_ms"],
        }));
    }
    let epoch_text = epoch.map_or_else(|| "no epoch".to_owned(), |epoch| format!("epoch {epoch}"));
    Said {
        json: json!({ "primary": primary, "epoch": epoch, "masters": masters }),
        text: format!("{epoch_text}\n{text}"),
    }
}
