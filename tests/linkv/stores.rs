//! A sharded store whose nodes are processes: linearizable while nodes are cut off and killed, and shards move.

use std::time::Duration;

use quorate_harness::seed::Seed;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::cluster::{Cluster, code};
use crate::processes::{BAD_WEATHER, init_among, kill_and_restart};
use crate::registers::{OPERATIONS, assert_linearizable, read_all, run};
use crate::router::{Router, SHARDKV, Weather, args};

/// The first three hold the controller.
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

const ARGS: [&str; 7] = ["--distributed", "--heartbeat", "80", "--request-timeout", "1500", "--shards", "4"];

/// A store on `dir` with two groups: one on its servers, one on the nodes that its position gives it.
async fn start(seed: &Seed, dir: &tempfile::TempDir) -> (Router, Cluster) {
    let dir = dir.path().to_str().expect("a path of plain text");
    let args = args(&[&ARGS[..], &["--data-dir", dir]].concat());
    let (router, cluster) = Router::start(SHARDKV, NODES.map(|node| (node, args.clone())), seed.rng(0));
    for node in NODES {
        init_among(&cluster, node, &NODES).await;
    }
    let strangers = json!({ "groups": { "g9": ["n9"] } });
    assert_eq!(code(&cluster.ask("ctl", "n4", "join", strangers).await), Some(12));
    // Joined twice it is known already: then the answer to the first was lost.
    let join = json!({ "groups": { "g1": ["n1", "n2", "n3"], "g2": [] } });
    while !matches!(code(&cluster.ask("ctl", "n4", "join", join.clone()).await), None | Some(22)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.insist("c", "n4", "write", json!({ "key": 99, "value": 0 })).await;
    (router, cluster)
}

async fn disturb_under_load(operations: usize) {
    let (seed, dir) = (Seed::of("linkv"), tempfile::tempdir().expect("a directory"));
    let (router, cluster) = start(&seed, &dir).await;
    router.set_weather(BAD_WEATHER);
    let history = run(&cluster, &NODES, operations, async |cluster, random| {
        let gid = ["g1", "g2"][random.random_range(0..2)];
        // Whatever comes of it: it may be refused, or lost.
        let shard = random.random_range(0..4);
        cluster.ask("ctl", "n2", "move", json!({ "shard": shard, "gid": gid })).await;
        let alone = NODES[random.random_range(0..NODES.len())];
        if random.random_bool(0.5) {
            router.part(&[alone]);
            tokio::time::sleep(Duration::from_millis(random.random_range(300..1200))).await;
            router.part(&[]);
        } else {
            kill_and_restart(&router, cluster, (&[alone], &NODES), random).await;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1000))).await;
    })
    .await;
    router.set_weather(Weather::default());
    let mut random = SmallRng::seed_from_u64(seed.number());
    kill_and_restart(&router, &cluster, (&NODES, &NODES), &mut random).await;
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
