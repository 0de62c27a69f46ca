//! The sharded store: a controller, groups on four nodes, clients, an operator who moves shards; every node may fail at any time,
//! also exactly at a step of a move.
//!
//! Shows: each key is linearizable; every acknowledged append is there once and in order; a shard has one owner at a time, and
//! what a move brings is what there was; no operation takes effect twice, in whichever groups; groups go through all
//! configurations in order; when all is well they settle and keep nothing that they gave away.

pub(crate) mod follower_reads;
mod layout;
mod load;
mod node;
mod operator;
mod outside;
mod replay;
pub(crate) mod scatter;
mod settled;
mod texts;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use quorate::GroupOptions;
use quorate_harness::checker::{Limits, Verdict, appends, check, ownership};
use quorate_harness::sim::{Kind, Scenario, Shape, Sim};
use quorate_nodes::kv::DriverOptions;
use quorate_statemachines::Gid;
use rand::RngExt;

use self::layout::{Layout, NODES};
use self::load::{LISTS, Load, TEXTS};
use self::node::{Settings, Store, TRAP};
use self::outside::{Client, Outside};
use self::replay::Replayed;
use self::texts::Texts;
use self::ways::Traps;
use super::kept_log::Kept;

/// How long faults come.
const LENGTH: Duration = Duration::from_secs(4);

/// Clients, and what each does at most.
const CLIENTS: u64 = 4;
const OPERATIONS: u64 = 30;

/// Changes of the configuration.
const CHANGES: u64 = 6;

/// How long the store may take to serve when all is well.
const HEAL: Duration = Duration::from_secs(30);

/// How many ways of a key's history are looked at before it is given up.
const CONFIGURATIONS: usize = 500_000;

/// The scenario.
pub(crate) struct ShardedKv;

#[async_trait(?Send)]
impl Scenario for ShardedKv {
    fn name(&self) -> &str {
        "sharded-kv"
    }

    fn about(&self) -> &str {
        "a controller and three groups on four nodes: shards move, nothing is lost, doubled or served by two"
    }

    fn shape(&self) -> Shape {
        let (clients, operations) = (CLIENTS, OPERATIONS);
        Shape { nodes: NODES, length: LENGTH, clients, operations, faults: 6, suffers: suffers() }
    }

    async fn run(&self, sim: &Sim) {
        let world = World::start(sim, 3).await;
        let outside: Vec<Outside> = (1..=2).map(|nth| Outside::new(sim, &world.layout, nth)).collect();
        let gids = world.layout.gids();
        if !operator::join(sim, &outside[0], &gids[..2]).await {
            return sim.violate("a store starts", "no group could join".into());
        }
        let load = Load::new(sim);
        let clients = (1..=CLIENTS).map(|process| {
            let outside = &outside[(process % 2) as usize];
            load.run(sim, outside, process, OPERATIONS, LENGTH)
        });
        let operator = operator::operate(sim, &outside[0], gids, CHANGES, LENGTH);
        futures::join!(sim.disturb(), join_all(clients), operator);

        world.traps.clear();
        sim.calm().await;
        if !operator::join(sim, &outside[1], &gids[..1]).await {
            return sim.violate("service resumes when all is well", "no configuration can be made".into());
        }
        let client = Client::new(&outside[1], "judge");
        for key in TEXTS {
            load.read_at_last(sim, &client, key, HEAL).await;
        }
        for list in LISTS {
            let held = load.read_at_last(sim, &client, list, HEAL).await.unwrap_or_default();
            judge_list(sim, &load, list, &held);
        }
        judge_history(sim, &load);
        if settled::settle(sim, &world, &outside[1]).await {
            judge_logs(sim, &world, &outside[1]).await;
        }
    }
}

/// What befalls a store: all that there is, and moves that are cut off at a step.
fn suffers() -> Vec<Kind> {
    let moves = [Kind::act(TRAP), Kind::act(TRAP), Kind::act(TRAP)];
    Kind::all().into_iter().chain(moves).collect()
}

/// A store that runs.
pub(crate) struct World {
    layout: Arc<Layout>,
    settings: Settings,
    kept: Kept,
    traps: Traps,
}

impl World {
    async fn start(sim: &Sim, groups: u64) -> World {
        let layout = Arc::new(Layout::new(groups));
        let settings = settings(sim);
        let (kept, traps) = (Kept::default(), Traps::new(sim.clone(), Arc::clone(&layout)));
        let store =
            Store { layout: Arc::clone(&layout), settings: settings.clone(), kept: kept.clone(), traps: traps.clone() };
        sim.start(store, NODES).await;
        World { layout, settings, kept, traps }
    }
}

/// Some seeds have snapshots in place of long logs, small pieces, slow copies.
fn settings(sim: &Sim) -> Settings {
    let mut random = sim.random("settings", 0);
    let group = GroupOptions {
        heartbeat: Duration::from_millis(40),
        election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
        lease_margin: Duration::from_millis(30),
        snapshot_log_bytes: [4_000, 20_000, u64::MAX][random.random_range(0..3)],
        snapshot_keep_entries: [2, 20][random.random_range(0..2)],
        quiesce_after: [None, Some(Duration::from_millis(1_500))][random.random_range(0..2)],
        ..GroupOptions::default()
    };
    let driver = DriverOptions {
        chunk_bytes: [60, 400, 8_000][random.random_range(0..3)],
        bytes_per_second_max: [None, None, Some(2_000)][random.random_range(0..3)],
        freeze_bytes: [0, 100, 16 << 10][random.random_range(0..3)],
        freeze_deltas_max: [2, 32][random.random_range(0..2)],
        sweep_keys: [1, 1_024][random.random_range(0..2)],
        ..DriverOptions::default()
    };
    Settings { group, driver, session_ttl: Duration::from_secs(1 << 20) }
}

fn judge_list(sim: &Sim, load: &Load, list: &str, held: &str) {
    let parse = |text: &str| {
        let (process, number) = text.split_once('.')?;
        Some((process.parse().ok()?, number.parse().ok()?))
    };
    let appended: Option<Vec<appends::Append>> = held.split_terminator(';').map(parse).collect();
    let Some(appended) = appended else { return sim.violate("an append is whole", format!("{list} holds {held}")) };
    if let Err(fault) = appends::judge(&load.told(list), &appended) {
        sim.violate("every append takes effect once", format!("{list}: {fault}; it holds {held}"));
    }
}

fn judge_history(sim: &Sim, load: &Load) {
    let operations: Vec<_> =
        load.seen.operations().into_iter().filter(|operation| TEXTS.contains(&operation.input.key.as_str())).collect();
    let limits = Limits { time: Duration::from_secs(3_600), configurations: CONFIGURATIONS };
    match check(&Texts, &operations, limits) {
        Verdict::NotLinearizable(counterexample) => {
            sim.violate("every key is linearizable", counterexample.describe(&operations));
        }
        Verdict::Unknown(limit) => sim.note(format_args!("the histories are too wide to be judged: {limit:?}")),
        Verdict::Linearizable => {}
    }
}

async fn judge_logs(sim: &Sim, world: &World, outside: &Outside) {
    let mut replayed = Replayed::default();
    for gid in world.layout.gids() {
        let Some(last) = settled::applied(sim, world, gid) else { continue };
        let Some(entries) = world.kept.entries(world.layout.id(gid), last) else {
            return sim.note(format_args!("the log of {gid} is not there as a whole"));
        };
        replayed.group(gid, world.settings.session_ttl, &entries);
    }
    if let Err(fault) = ownership::judge(&replayed.tenures) {
        sim.violate("a shard has one owner, with all that there is", fault.to_string());
    }
    if let Some(doubled) = replayed.doubled() {
        sim.violate("no operation takes effect twice", doubled);
    }
    sim.note(format_args!("{} operations took effect, {} tenures", replayed.executed(), replayed.tenures.len()));
    let Some(all) = settled::all_numbers(outside).await else { return };
    let in_order = |gid: &Gid| replayed.numbers.get(gid).is_none_or(|numbers| *numbers == all);
    if let Some(gid) = world.layout.gids().iter().find(|gid| !in_order(gid)) {
        let reason = format!("{gid} went through {:?} of {all:?}", replayed.numbers.get(gid));
        sim.violate("groups go through all configurations in order", reason);
    }
}
