//! When all is well again: every group goes on to the newest configuration, does what is left of its moves, keeps nothing that it
//! gave away, and all of its replicas hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quorate::{Consistency, Group, Index};
use quorate_harness::sim::Sim;
use quorate_statemachines::configlog::{Config, Query};
use quorate_statemachines::kv::{KvAnswer, KvMachine, KvQuery, Scan, ShardState, Work};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use super::World;
use super::node::Node;
use super::outside::Outside;

/// How long that may take.
const SETTLE: Duration = Duration::from_secs(60);

/// How long one call may take.
const CALL: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until all groups have settled, and looks at what they hold. Whether they have.
pub(super) async fn settle(sim: &Sim, world: &World, outside: &Outside) -> bool {
    let deadline = sim.now() + SETTLE;
    for gid in world.layout.gids() {
        let mut last = None;
        loop {
            let newest = outside.latest().await;
            let work = outside.work(gid).await;
            if let (Some(config), Some(work)) = (&newest, &work)
                && is_quiet(work, config)
            {
                break;
            }
            last = work.or(last);
            if sim.now() >= deadline {
                let newest = newest.map(|config| config.number);
                let reason = format!("{gid} has not in {SETTLE:?}: the newest is {newest:?}, its work is {last:?}");
                sim.violate("groups settle when all is well", reason);
                return false;
            }
            sim.sleep(LOOK).await;
        }
    }
    let Some(config) = outside.latest().await else { return false };
    for gid in world.layout.gids() {
        if let Err(reason) = holds_its_own(world, outside, gid, &config).await {
            sim.violate("a group keeps nothing that it gave away", reason);
            return false;
        }
        if let Err(reason) = same_everywhere(sim, world, gid).await {
            sim.violate("all replicas hold the same", reason);
            return false;
        }
    }
    true
}

/// Nothing left to do: no shard on its way, nobody to be told, nothing to be freed.
fn is_quiet(work: &Work, config: &Config) -> bool {
    let idle = work.settled && work.acks.is_empty() && work.sweeps.is_empty() && work.pulls.is_empty();
    idle && work.number == config.number
}

/// A group serves what the configuration says, and has nothing else but what nobody else has.
async fn holds_its_own(world: &World, outside: &Outside, gid: &Gid, config: &Config) -> Result<(), String> {
    let Some(status) = outside.status(gid).await else { return Err(format!("{gid} does not say what it holds")) };
    let served: BTreeSet<ShardId> =
        status.shards.iter().filter(|(_, shard)| shard.state == ShardState::Serving).map(|(shard, _)| *shard).collect();
    let owned = config.shards_of(gid);
    if served != owned {
        return Err(format!("{gid} serves {served:?} and owns {owned:?} as of {}", config.number));
    }
    let is_kept = |shard: &ShardId| config.owner(*shard).is_none();
    match status.shards.iter().find(|(shard, _)| !owned.contains(shard) && !is_kept(shard)) {
        Some((shard, left)) => Err(format!("{gid} has {left:?} of {shard}, which is not its own")),
        None => {
            let _ = world;
            Ok(())
        }
    }
}

/// The replicas of a group that run, by their nodes.
fn replicas(sim: &Sim, world: &World, gid: &Gid) -> Vec<Group<KvMachine>> {
    let nodes = world.layout.nodes(gid).into_iter();
    let replica = |node| sim.process::<Node>(node)?.process.groups.get(gid).cloned();
    nodes.filter_map(replica).collect()
}

/// How far the furthest replica of a group is.
pub(super) fn applied(sim: &Sim, world: &World, gid: &Gid) -> Option<Index> {
    replicas(sim, world, gid).iter().filter_map(Group::applied).max()
}

/// Waits until all replicas have applied the same, and compares what they hold.
async fn same_everywhere(sim: &Sim, world: &World, gid: &Gid) -> Result<(), String> {
    let deadline = sim.now() + SETTLE;
    loop {
        let replicas = replicas(sim, world, gid);
        let indexes: Vec<Option<Index>> = replicas.iter().map(Group::applied).collect();
        if replicas.len() == 3 && indexes.windows(2).all(|pair| pair[0] == pair[1]) {
            let mut held = Vec::new();
            for replica in &replicas {
                held.push((replica.applied(), contents(replica).await));
            }
            // Unless something was applied meanwhile.
            if held.iter().all(|(at, _)| *at == indexes[0]) {
                let same = held.windows(2).all(|pair| pair[0].1 == pair[1].1);
                return if same { Ok(()) } else { Err(format!("{gid}: {held:?}")) };
            }
        }
        if sim.now() >= deadline {
            return Err(format!("{gid}: its replicas are at {indexes:?} after {SETTLE:?}"));
        }
        sim.sleep(LOOK).await;
    }
}

/// All that a replica serves.
async fn contents(replica: &Group<KvMachine>) -> Option<BTreeMap<ShardId, String>> {
    let read = async |query: KvQuery| Some(replica.read(Consistency::Local, &query, CALL).await.ok()?.answer);
    let KvAnswer::Status(status) = read(KvQuery::Status).await? else { return None };
    let mut all = BTreeMap::new();
    for shard in status.shards.keys() {
        let answer = read(KvQuery::Scan(Scan { shard: *shard, ..Scan::default() })).await?;
        all.insert(*shard, format!("{answer:?}"));
    }
    Some(all)
}

/// The numbers of all configurations, in order.
pub(super) async fn all_numbers(outside: &Outside) -> Option<Vec<ConfigNumber>> {
    let mut numbers = Vec::new();
    loop {
        let after = Query::After(numbers.last().copied().unwrap_or(ConfigNumber(0)));
        match outside.kv.configuration(after, CALL).await.ok()? {
            Some(config) => numbers.push(config.number),
            None => return Some(numbers),
        }
    }
}
