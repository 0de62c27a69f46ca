//! What a group holds, for people.

use std::time::Duration;

use quorate_statemachines::kv::{KvMachine, ShardState};
use serde_json::{Map, Value, json};

use crate::embedded::EmbeddedGroup;
use crate::kv::{DirectClient, Target};
use crate::stdio::{ErrorReply, Reply};

/// The group's configuration, its leader, and its shards.
pub(in crate::services) async fn status(
    client: &DirectClient,
    target: Target<'_>,
    group: &EmbeddedGroup<KvMachine>,
    timeout: Duration,
) -> Result<Reply, ErrorReply> {
    let (status, leader) = client.status(target, timeout).await?;
    let leader = group.replica_of(leader).map(|nth| format!("{}/{nth}", target.gid));
    let shards: Map<String, Value> = status
        .shards
        .iter()
        .map(|(shard, held)| {
            let held = json!({ "state": name(held.state), "keys": held.keys, "bytes": held.bytes });
            (shard.to_string(), held)
        })
        .collect();
    Ok(Reply::new().field("version", status.number.0).field("leader", leader).field("shards", shards))
}

fn name(state: ShardState) -> &'static str {
    match state {
        ShardState::Serving => "serving",
        ShardState::Outgoing => "outgoing",
        ShardState::Frozen => "frozen",
        ShardState::Pulling => "pulling",
        ShardState::Deleting => "deleting",
    }
}
