//! What a group holds, for people.

use std::time::Duration;

use quorate::NodeId;
use quorate_statemachines::Gid;
use quorate_statemachines::kv::{KvMachine, ShardState};
use serde_json::{Map, Value, json};

use crate::embedded::EmbeddedGroup;
use crate::kv::{DirectClient, Target};
use crate::stdio::{ErrorReply, Reply};

/// The group's configuration, its leader under the name that it has here, and its shards.
pub(in crate::services) async fn status(
    client: &DirectClient,
    target: Target<'_>,
    leader_name: impl Fn(NodeId) -> Option<String>,
    timeout: Duration,
) -> Result<Reply, ErrorReply> {
    let (status, leader) = client.status(target, timeout).await?;
    let leader = leader_name(leader);
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

/// The name of a replica of a group in this process: `g1/0`.
pub(in crate::services) fn embedded_name(gid: &Gid, group: &EmbeddedGroup<KvMachine>, node: NodeId) -> Option<String> {
    group.replica_of(node).map(|nth| format!("{gid}/{nth}"))
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
