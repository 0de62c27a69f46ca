//! Configurations: changing them, and asking for them.

use std::future::Future;
use std::time::Duration;

use quorate_statemachines::configlog::{Command as Change, Config, Query, Refusal, Reply as Changed};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::kv::KvClient;
use crate::services::left;
use crate::stdio::{ErrorReply, Reply};

/// Has a change made. What is then to be done because of it is waited for at most until the deadline.
pub(super) async fn change(
    client: &KvClient,
    change: Change,
    deadline: Instant,
    then: impl Future<Output = ()>,
) -> Result<Reply, ErrorReply> {
    let is_external = matches!(change, Change::Set { .. });
    let number = match client.change(&change, left(deadline)).await? {
        Changed::Done { number } => number,
        Changed::NotApplied { .. } => return Ok(Reply::new().field("applied", false)),
        Changed::Refused(refusal) => return Err(refused(refusal)),
    };
    // It is committed, whatever comes of this.
    let _ = timeout_at(deadline, then).await;
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
pub(super) async fn query(client: &KvClient, query: Query, timeout: Duration) -> Result<Reply, ErrorReply> {
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
