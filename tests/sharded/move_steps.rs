//! A shard's move, with the source's or the destination's leader killed just before or just after each of its steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_nodes::kv::DriverOptions;
use quorate_statemachines::Gid;

use crate::common::stage::{Call, Fate, Stage, When};
use crate::common::{Appenders, Expected, Setup, eventually, gid, key, pause, text};

/// Which of a move's two groups loses its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Source,
    Destination,
}

/// Every call from group to group lies between two steps: the piece that was pulled is staged after the call for it, the
/// shard is installed between the last delta and the delete.
const POINTS: [(Call, When); 11] = [
    (Call::Chunk, When::Before),
    (Call::Chunk, When::After),
    (Call::Delta, When::Before),
    (Call::Delta, When::After),
    (Call::Freeze, When::Before),
    (Call::Freeze, When::After),
    (Call::LastDelta, When::After),
    (Call::Delete, When::Before),
    (Call::Delete, When::After),
    (Call::Installed, When::Before),
    (Call::Installed, When::After),
];

/// Small pieces, so that a move takes many steps.
fn setup() -> Setup {
    let driver = DriverOptions { chunk_bytes: 256, freeze_bytes: 64, ..DriverOptions::default() };
    Setup::groups(2).snapshots_at(2000).moves(driver)
}

/// Kills the victim's leader at one point of one move, and starts it again a little later. The number of kills.
fn kill_at(
    stage: &Arc<Stage>,
    (call, when): (Call, When),
    victim: Victim,
    source: &Gid,
    destination: &Gid,
) -> Arc<AtomicUsize> {
    let (stage_, kills) = (Arc::clone(stage), Arc::<AtomicUsize>::default());
    let (victim, counted) = (if victim == Victim::Source { source } else { destination }.clone(), Arc::clone(&kills));
    // At the second call for a piece, mostly, a first one is staged.
    let seen = Arc::new(AtomicUsize::new(if call == Call::Chunk { 0 } else { 1 }));
    stage.watch(move |passage| {
        let (stage, victim, counted, seen) =
            (Arc::clone(&stage_), victim.clone(), Arc::clone(&counted), Arc::clone(&seen));
        async move {
            let is_it = passage.call == call && passage.when == when;
            if !is_it || seen.fetch_add(1, Ordering::Relaxed) != 1 {
                // The source asks only when nobody tells it.
                let untold = call == Call::Installed && passage.call == Call::Delete;
                return if untold && counted.load(Ordering::Relaxed) == 0 { Fate::Lose } else { Fate::Pass };
            }
            let leader = loop {
                match stage.group(&victim).leader() {
                    Some(leader) => break leader,
                    None => pause(5).await,
                }
            };
            stage.stop(&victim, leader).await;
            let again = (Arc::clone(&stage), victim.clone());
            tokio::spawn(async move {
                pause(300).await;
                again.0.start_again(&again.1, leader).await;
                counted.fetch_add(1, Ordering::Relaxed);
            });
            if passage.caller == victim { Fate::Never } else { Fate::Pass }
        }
    });
    kills
}

async fn every_step_survives_the_loss_of(victim: Victim) {
    let stage = Stage::start(setup()).await;
    let both = [gid(0), gid(1)];
    let mut rng = stage.seed.rng(1);
    let still: Expected = (0..20).map(|nth| (key(0, nth), text(&mut rng, 40))).collect();
    let client = stage.client();
    for (key, value) in &still {
        client.put(key, value).await;
    }
    // One key for each appender beside them.
    let mut moving: Expected = (20..22).map(|nth| (key(0, nth), String::new())).collect();
    let number = stage.move_shard(0, &both[0]).await;
    stage.quiet(&both, number).await;
    for (nth, point) in POINTS.into_iter().enumerate() {
        let (source, destination) = (&both[nth % 2], &both[1 - nth % 2]);
        println!("{victim:?} {point:?}");
        let gone = key(0, 100 + nth);
        client.put(&gone, "deleted in mid-move").await;
        let kills = kill_at(&stage, point, victim, source, destination);
        let load = Appenders::start(moving, || stage.client(), &stage.seed, Duration::from_millis(2));
        load.progress(1).await;
        let number = stage.move_shard(0, destination).await;
        client.delete(&gone).await;
        eventually(&format!("{victim:?}'s leader is killed at {point:?}"), || {
            std::future::ready(kills.load(Ordering::Relaxed) > 0)
        })
        .await;
        stage.quiet(&both, number).await;
        stage.unwatch();
        load.progress(1).await;
        moving = load.stop().await;
        assert_eq!(stage.holds(source, 0).await, Some(false), "{victim:?} {point:?}: the source still holds something");
        for (key, value) in still.iter().chain(&moving) {
            client.check(key, value).await;
        }
        assert_eq!(client.read_within(&gone, Duration::from_secs(20)).await, Ok(None), "a deleted key is back");
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_survives_the_loss_of_the_sources_leader_at_every_step() {
    every_step_survives_the_loss_of(Victim::Source).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_survives_the_loss_of_the_destinations_leader_at_every_step() {
    every_step_survives_the_loss_of(Victim::Destination).await;
}
