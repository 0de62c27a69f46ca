//! Nodes as processes of their own, which reach each other through a network that loses, doubles, delays and reorders what
//! they say, and which are killed and started again on what they have kept: linearizable.

use std::sync::Arc;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_harness::stdio::latency::{Distribution, Latency};
use quorate_harness::stdio::network::Weather;
use quorate_harness::stdio::processes::Seat;
use quorate_harness::stdio::trial::Trial;
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::json;

use crate::cluster::{Cluster, code};
use crate::registers::{OPERATIONS, assert_linearizable, read_all, run};

const REPLICA: &str = env!("CARGO_BIN_EXE_replica-process");

const NODES: [&str; 3] = ["n1", "n2", "n3"];

/// Short enough for a test, long enough for a busy machine.
const ARGS: [&str; 5] = ["--distributed", "--heartbeat", "80", "--request-timeout", "1500"];

/// Messages between nodes take up to 15 ms.
pub(crate) fn bad_weather(weather: &mut Weather) {
    let latency = Latency { mean: Duration::from_millis(8), distribution: Distribution::Uniform };
    *weather = Weather { latency, lost: 0.03, doubled: 0.03 };
}

pub(crate) fn good_weather(weather: &mut Weather) {
    *weather = Weather::default();
}

/// Processes of a program, none of which runs yet, and clients for all of them.
pub(crate) fn processes(seed: &Seed, bin: &str, args: &[&str], seats: Vec<Seat>) -> (Arc<Trial>, Cluster) {
    let trial = Arc::new(Trial::new(seed.number()).with(bin, args, seats));
    (Arc::clone(&trial), Cluster::Processes(trial))
}

fn replicas(more: &[&str]) -> (Seed, Arc<Trial>, Cluster) {
    let seed = Seed::of("linkv");
    let (trial, cluster) = processes(&seed, REPLICA, &[&ARGS, more].concat(), Seat::peers(&NODES));
    (seed, trial, cluster)
}

async fn init(cluster: &Cluster, node: &str) {
    let answer = cluster.ask("c", node, "init", json!({ "node_id": node, "node_ids": NODES })).await;
    assert_eq!(answer["type"], "init_ok", "{answer:?}");
}

/// Kills some of the nodes, leaves them dead for a while, and starts them again on their directories.
pub(crate) async fn kill_and_restart(trial: &Trial, cluster: &Cluster, victims: &[&str], random: &mut SmallRng) {
    trial.kill(victims).await;
    tokio::time::sleep(Duration::from_millis(random.random_range(0..800))).await;
    trial.start(victims).await;
    // Something is to happen between two crashes.
    cluster.insist("c", victims[0], "write", json!({ "key": 99, "value": 0 })).await;
}

/// Clients at work while nodes are killed, one or all at a time, and cut off, in bad weather.
async fn kill_under_load(operations: usize) {
    let (_seed, trial, cluster) = replicas(&["--data-dir", "{data}"]);
    trial.network().set_weather(bad_weather);
    trial.start(&NODES).await;
    cluster.insist("c", "n2", "write", json!({ "key": 99, "value": 0 })).await;
    let mut kills = 0;
    let history = run(&cluster, &NODES, operations, async |cluster, random| {
        let alone = NODES[random.random_range(0..NODES.len())];
        match random.random_range(0..4) {
            0 => trial.network().cut_off(&[alone]),
            1 => {
                kills += NODES.len();
                kill_and_restart(&trial, cluster, &NODES, random).await;
            }
            _ => {
                kills += 1;
                kill_and_restart(&trial, cluster, &[alone], random).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        trial.network().cut_off(&[]);
    })
    .await;
    trial.network().set_weather(good_weather);
    // What was acknowledged last is there after the last crash too.
    let mut random = rand::make_rng();
    kill_and_restart(&trial, &cluster, &NODES, &mut random).await;
    read_all(&cluster, "n1", &history).await;
    println!("{} kills", kills + NODES.len());
    cluster.end().await;
    assert_linearizable(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_linearizable_while_nodes_are_killed_and_restarted_on_their_directories() {
    kill_under_load(OPERATIONS).await;
}

/// `cargo test -p quorate-tests --test linkv -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn registers_are_linearizable_through_many_kills() {
    kill_under_load(OPERATIONS * 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_linearizable_while_messages_are_lost_and_nodes_cut_off() {
    let (_seed, trial, cluster) = replicas(&[]);
    trial.network().set_weather(bad_weather);
    trial.start(&NODES).await;
    cluster.insist("c", "n2", "write", json!({ "key": 99, "value": 0 })).await;
    let history = run(&cluster, &NODES, OPERATIONS / 2, async |_, random| {
        let alone = NODES[random.random_range(0..NODES.len())];
        trial.network().cut_off(&[alone]);
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1200))).await;
        trial.network().cut_off(&[]);
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
    })
    .await;
    trial.network().cut_off(&[]);
    trial.network().set_weather(good_weather);
    // All is well again, at every node.
    for node in NODES {
        cluster.insist("c", node, "write", json!({ "key": 99, "value": 1 })).await;
        let answer = cluster.insist("c", node, "follower_read", json!({ "key": 99, "max_staleness_ms": 5000 })).await;
        assert_eq!(answer["served_by"], node, "{answer:?}");
    }
    cluster.end().await;
    assert_linearizable(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_serve_before_the_third_is_there_and_after_another_has_gone() {
    let (_seed, trial, cluster) = replicas(&[]);
    trial.network().set_weather(bad_weather);
    trial.launch(&NODES).await;
    // What is asked before `init` is refused, and the third hears its peers before it can understand them.
    assert_eq!(code(&cluster.ask("c", "n3", "read", json!({ "key": 1 })).await), Some(11));
    init(&cluster, "n1").await;
    init(&cluster, "n2").await;
    cluster.insist("c", "n2", "write", json!({ "key": 1, "value": "early" })).await;
    init(&cluster, "n3").await;
    let answer = cluster.insist("c", "n3", "read", json!({ "key": 1 })).await;
    assert_eq!(answer["value"], "early");
    trial.kill(&["n1"]).await;
    cluster.insist("c", "n3", "write", json!({ "key": 1, "value": "late" })).await;
    let answer = cluster.insist("c", "n2", "read", json!({ "key": 1 })).await;
    assert_eq!(answer["value"], "late");
    cluster.end().await;
}
