//! Configurations: changing them, and asking for them.

use std::sync::Arc;
use std::time::Duration;

use quorate_statemachines::configlog::{Command as Change, Config, Query, Refusal, Reply as Changed};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::running::Running;
use crate::services::left;
use crate::stdio::{ErrorReply, Reply};

/// Has a change made, and the groups that it names started.
pub(super) async fn change(running: &Arc<Running>, change: Change, deadline: Instant) -> Result<Reply, ErrorReply> {
    let is_external = matches!(change, Change::Set { .. });
    let number = match running.store.client().change(&change, left(deadline)).await? {
        Changed::Done { number } => number,
        Changed::NotApplied { .. } => return Ok(Reply::new().field("applied", false)),
        Changed::Refused(refusal) => return Err(refused(refusal)),
    };
    // It is committed, whatever comes of this: groups that do not run by the deadline are started all the same.
    let started = tokio::spawn(Arc::clone(running).start_groups());
    let _ = timeout_at(deadline, started).await;
    Ok(if is_external { Reply::new() } else { Reply::new().field("version", number.0) })
}

fn refused(refusal: Refusal) -> ErrorReply {
    let text = refusal.to_string();
    match refusal {
        Refusal::KnownGroup(_) => ErrorReply::precondition(text).reason("known_group"),
        Refusal::UnknownGroup(_) => ErrorReply::precondition(text).reason("unknown_group"),
        Refusal::NumbersExhausted => ErrorReply::precondition(text).reason("numbers_exhausted"),
        Refusal::NoGroup | Refusal::Nameless => ErrorReply::malformed(text).reason("no_group"),
        Refusal::UnknownShard(_) => ErrorReply::malformed(text).reason("unknown_shard"),
        Refusal::BadShards { .. } => ErrorReply::malformed(text).reason("bad_shards"),
        Refusal::Nodes(_) => ErrorReply::malformed(text).reason("bad_nodes"),
    }
}

/// The configuration that `query` asks for.
pub(super) async fn query(running: &Running, query: Query, timeout: Duration) -> Result<Reply, ErrorReply> {
    let client = running.store.client();
    let config = client.configuration(query, timeout).await?.unwrap_or_default();
    if !config.exists() && query != Query::Latest {
        // Older than the first one, or there is none.
        let latest = client.configuration(Query::Latest, timeout).await?.unwrap_or_default();
        return described_if_any(&latest, &config);
    }
    described_if_any(&config, &config)
}

fn described_if_any(latest: &Config, config: &Config) -> Result<Reply, ErrorReply> {
    if !latest.exists() {
        return Err(ErrorReply::unavailable("there is no configuration yet").reason("no_config"));
    }
    let owner = |shard| config.owner(shard).map_or(Value::Null, |gid| Value::from(&*gid.0));
    let shards: Map<String, Value> = config.shard_ids().map(|shard| (shard.to_string(), owner(shard))).collect();
    let groups: Map<String, Value> =
        config.groups.iter().map(|(gid, servers)| (gid.to_string(), servers.clone().into())).collect();
    Ok(Reply::new().field("version", config.number.0).field("shards", shards).field("groups", groups))
}
