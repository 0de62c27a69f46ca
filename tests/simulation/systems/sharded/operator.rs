//! Who changes the configuration: groups join and leave, shards move, at random.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_harness::sim::Sim;
use quorate_nodes::kv::KvError;
use quorate_statemachines::configlog::{Command, Config, Reply};
use quorate_statemachines::{Gid, ShardId};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

use super::outside::Outside;

/// The operator's number among the clients.
pub(super) const OPERATOR: u64 = 90;

/// How many shards there are.
pub(super) const SHARDS: u32 = 4;

/// How long one change may take.
const CHANGE: Duration = Duration::from_secs(2);

/// Has these groups join, in one configuration, for as long as it takes.
pub(super) async fn join(sim: &Sim, outside: &Outside, gids: &[Gid]) -> bool {
    let deadline = sim.now() + Duration::from_secs(60);
    while sim.now() < deadline {
        let known: BTreeSet<Gid> = match outside.latest().await {
            Some(config) => config.groups.keys().cloned().collect(),
            None => continue,
        };
        let missing: BTreeMap<Gid, _> =
            gids.iter().filter(|gid| !known.contains(gid)).map(|gid| (gid.clone(), Vec::new())).collect();
        if missing.is_empty() {
            return true;
        }
        let _ = outside.kv.change(&Command::Join { groups: missing, shard_count: SHARDS }, CHANGE).await;
    }
    false
}

/// Makes up to so many changes until `length` has passed.
pub(super) async fn operate(sim: &Sim, outside: &Outside, gids: &[Gid], changes: u64, length: Duration) {
    for number in 1..=changes {
        let mut random = sim.random("change", number);
        sim.sleep(Duration::from_millis(random.random_range(0..2 * length.as_millis() as u64 / changes))).await;
        if sim.now() >= length {
            return;
        }
        if !sim.plan().keeps(OPERATOR, number) {
            continue;
        }
        let Some(config) = outside.latest().await else { continue };
        let command = draw(&mut random, &config, gids);
        let ticket = sim.invoke(OPERATOR, "change", Value::Null, json!(format!("{command:?}")), None);
        match outside.kv.change(&command, CHANGE).await {
            Ok(Reply::Done { number }) => ticket.ok(json!(number.0)),
            Ok(refused) => ticket.fail(format!("{refused:?}")),
            Err(error @ KvError::Unknown(_)) => ticket.info(error),
            Err(error) => ticket.fail(error),
        }
    }
}

fn draw(random: &mut SmallRng, config: &Arc<Config>, gids: &[Gid]) -> Command {
    let gid = gids[random.random_range(0..gids.len())].clone();
    let joined = config.groups.contains_key(&gid);
    match random.random_range(0..10) {
        0..5 if joined => Command::Move { shard: ShardId(random.random_range(0..SHARDS)), gid },
        // The last one leaves rarely: then nobody serves.
        5..9 if joined && config.groups.len() > 1 => Command::Leave { gids: BTreeSet::from([gid]) },
        9 if joined => Command::Leave { gids: BTreeSet::from([gid]) },
        _ if joined => Command::Move { shard: ShardId(random.random_range(0..SHARDS)), gid },
        _ => Command::Join { groups: BTreeMap::from([(gid, Vec::new())]), shard_count: SHARDS },
    }
}
