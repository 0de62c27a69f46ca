//! A sharded store whose nodes are processes: linearizable while nodes are cut off and killed, and shards move.

use std::sync::Arc;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_harness::stdio::processes::Seat;
use quorate_harness::stdio::trial::Trial;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::cluster::{Cluster, code};
use crate::processes::{bad_weather, good_weather, kill_and_restart, processes};
use crate::registers::{OPERATIONS, assert_linearizable, read_all, run};

const SHARDKV: &str = env!("CARGO_BIN_EXE_shardkv-process");

/// The first three hold the controller.
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

const ARGS: [&str; 9] =
    ["--distributed", "--heartbeat", "80", "--request-timeout", "1500", "--shards", "4", "--data-dir", "{data}"];

/// A store with two groups: one on its servers, one on the nodes that its position gives it.
async fn start(seed: &Seed) -> (Arc<Trial>, Cluster) {
    let (trial, cluster) = processes(seed, SHARDKV, &ARGS, Seat::peers(&NODES));
    trial.start(&NODES).await;
    let strangers = json!({ "groups": { "g9": ["n9"] } });
    assert_eq!(code(&cluster.ask("ctl", "n4", "join", strangers).await), Some(12));
    // Joined twice it is known already: then the answer to the first was lost.
    let join = json!({ "groups": { "g1": ["n1", "n2", "n3"], "g2": [] } });
    while !matches!(code(&cluster.ask("ctl", "n4", "join", join.clone()).await), None | Some(22)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.insist("c", "n4", "write", json!({ "key": 99, "value": 0 })).await;
    (trial, cluster)
}

async fn disturb_under_load(operations: usize) {
    let seed = Seed::of("linkv");
    let (trial, cluster) = start(&seed).await;
    trial.network().set_weather(bad_weather);
    let history = run(&cluster, &NODES, operations, async |cluster, random| {
        let gid = ["g1", "g2"][random.random_range(0..2)];
        // Whatever comes of it: it may be refused, or lost.
        let shard = random.random_range(0..4);
        cluster.ask("ctl", "n2", "move", json!({ "shard": shard, "gid": gid })).await;
        let alone = NODES[random.random_range(0..NODES.len())];
        if random.random_bool(0.5) {
            trial.network().cut_off(&[alone]);
            tokio::time::sleep(Duration::from_millis(random.random_range(300..1200))).await;
            trial.network().cut_off(&[]);
        } else {
            kill_and_restart(&trial, cluster, &[alone], random).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1000))).await;
    })
    .await;
    trial.network().set_weather(good_weather);
    let mut random = SmallRng::seed_from_u64(seed.number());
    kill_and_restart(&trial, &cluster, &NODES, &mut random).await;
    read_all(&cluster, "n4", &history).await;
    cluster.end().await;
    assert_linearizable(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_processes_is_linearizable_while_shards_move_and_nodes_are_killed() {
    disturb_under_load(OPERATIONS / 2).await;
}

/// `cargo test -p quorate-tests --test linkv -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_store_of_processes_is_linearizable_through_many_moves_and_kills() {
    disturb_under_load(OPERATIONS * 10).await;
}
