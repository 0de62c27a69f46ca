//! Telling a group its configurations.

use std::collections::{BTreeMap, BTreeSet};

use quorate_statemachines::configlog::SHARDS_MAX;
use quorate_statemachines::kv::{Configure, Configured, Source, Status};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};
use tokio::time::Instant;

use super::request::{Set, Update};
use crate::kv::{DirectClient, Target};
use crate::services::left;
use crate::stdio::{ErrorReply, Reply};

/// A configuration of any number above the one in force. What it does not name is kept, what it names anew starts as
/// the protocol has it for a shard without a source.
pub(super) async fn set(
    client: &DirectClient,
    target: Target<'_>,
    set: Set,
    default_count: u32,
    deadline: Instant,
) -> Result<Reply, ErrorReply> {
    let (status, _) = client.status(target, left(deadline)).await?;
    let config = Configure {
        number: set.version,
        previous: status.number,
        shard_count: shard_count(&status, set.shard_count, default_count, &set.shards)?,
        shards: set.shards,
        sources: BTreeMap::new(),
        targets: BTreeMap::new(),
    };
    let (outcome, _) = client.configure(target, &config, left(deadline)).await?;
    let current = match outcome {
        Configured::Applied | Configured::SameAgain => return Ok(Reply::new()),
        Configured::Migrating => {
            let error = ErrorReply::unavailable("the shards of the configuration in force are still on their way");
            return Err(error.reason("migrating").hint("version", status.number.0));
        }
        Configured::Different => set.version,
        Configured::Older { current } | Configured::Gap { current } => current,
    };
    let text = format!("configuration {current} is in force");
    Err(ErrorReply::precondition(text).reason("not_newer").hint("version", current.0))
}

/// The configuration after the one in force.
pub(super) async fn update(
    client: &DirectClient,
    target: Target<'_>,
    update: Update,
    default_count: u32,
    deadline: Instant,
) -> Result<Reply, ErrorReply> {
    let (status, _) = client.status(target, left(deadline)).await?;
    let ids: BTreeSet<ShardId> = update.shards.iter().chain(update.targets.keys()).copied().collect();
    let shard_count = shard_count(&status, None, default_count, &ids)?;
    let source = |(shard, gid): (ShardId, Gid)| (shard, Source { gid, taken_at: None });
    let config = Configure {
        number: update.version,
        previous: ConfigNumber(update.version.0.saturating_sub(1)),
        shards: update.shards,
        shard_count,
        sources: update.sources.into_iter().map(source).collect(),
        targets: update.targets,
    };
    let (outcome, in_transfer) = client.configure(target, &config, left(deadline)).await?;
    let reply = match outcome {
        Configured::Applied | Configured::SameAgain => Reply::new().field("applied", true),
        Configured::Different => {
            Reply::new().field("applied", false).field("reason", "different").field("version", update.version.0)
        }
        Configured::Older { current } => Reply::new().field("applied", false).field("version", current.0),
        Configured::Gap { current } => {
            Reply::new().field("applied", false).field("reason", "gap").field("expected_version", current.0 + 1)
        }
        Configured::Migrating => Reply::new().field("applied", false).field("reason", "migrating"),
    };
    let in_transfer: Vec<u32> = in_transfer.into_iter().map(|shard| shard.0).collect();
    Ok(reply.optional("migrating", (!in_transfer.is_empty()).then_some(in_transfer)))
}

/// How many shards there are, which the first configuration decides; all `ids` must be below it.
fn shard_count(status: &Status, asked: Option<u32>, default: u32, ids: &BTreeSet<ShardId>) -> Result<u32, ErrorReply> {
    let fixed = (status.number > ConfigNumber(0)).then_some(status.shard_count);
    let count = fixed.or(asked).unwrap_or(default);
    if asked.is_some_and(|asked| asked != count) {
        return Err(ErrorReply::malformed(format!("there are {count} shards since the first configuration")));
    }
    if count > SHARDS_MAX {
        return Err(ErrorReply::malformed(format!("there are at most {SHARDS_MAX} shards, not {count}")));
    }
    match ids.last() {
        Some(last) if last.0 >= count => {
            Err(ErrorReply::malformed(format!("there is no shard {last}: they are 0 to {}", count - 1)))
        }
        _ => Ok(count),
    }
}
