//! Shard groups whose replicas are processes: a shard moves from one to the other, whoever is killed meanwhile.

use std::collections::BTreeMap;

use quorate_harness::seed::Seed;
use quorate_harness::stdio::processes::Seat;
use serde_json::{Value, json};

use crate::cluster::{Cluster, code};
use crate::processes::{bad_weather, processes};

const REPLICA_GROUP: &str = env!("CARGO_BIN_EXE_replica-group-process");

const FIRST: [&str; 3] = ["n1", "n2", "n3"];
const SECOND: [&str; 1] = ["n4"];

const ARGS: [&str; 11] = [
    "--distributed",
    "--heartbeat",
    "80",
    "--request-timeout",
    "1500",
    "--group",
    "{group}",
    "--peers",
    "{peers}",
    "--data-dir",
    "{data}",
];

/// The members of a group, who are told of the other one.
fn seats(members: &[&str], group: &str, peers: &str) -> impl Iterator<Item = Seat> {
    let placeholders = BTreeMap::from([("group", group.to_owned()), ("peers", peers.to_owned())]);
    Seat::peers(members).into_iter().map(move |seat| Seat { placeholders: placeholders.clone(), ..seat })
}

/// Has a configuration taken, and repeats it until that is known.
async fn update(cluster: &Cluster, node: &str, config: Value) {
    let reply = cluster.insist("ctl", node, "config_update", config.clone()).await;
    assert_eq!(reply["applied"], true, "{config}: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_moves_between_processes_that_are_killed_meanwhile() {
    let seed = Seed::of("linkv");
    let seats = seats(&FIRST, "g1", "g2=n4").chain(seats(&SECOND, "g2", "g1=n1,n2,n3")).collect();
    let (trial, cluster) = processes(&seed, REPLICA_GROUP, &ARGS, seats);
    trial.network().set_weather(bad_weather);
    trial.start(&["n1", "n2", "n3", "n4"]).await;
    // A repetition is error 22: then the answer to the first was lost.
    for (node, shards) in [("n2", json!([0, 1])), ("n4", json!([]))] {
        let config = json!({ "version": 1, "shards": shards, "shard_count": 2 });
        while !matches!(code(&cluster.ask("ctl", node, "set_config", config.clone()).await), None | Some(22)) {}
    }
    for key in 0..20 {
        let node = FIRST[key % 3];
        cluster.insist("c", node, "put", json!({ "key": key, "value": key })).await;
    }
    let elsewhere = json!({ "version": 2, "shards": [1], "sources": { "1": "g7" } });
    assert_eq!(code(&cluster.ask("ctl", "n1", "config_update", elsewhere).await), Some(12), "nobody said where g7 is");

    update(&cluster, "n1", json!({ "version": 2, "shards": [1], "targets": { "0": "g2" } })).await;
    trial.kill(&["n4", "n1"]).await;
    trial.start(&["n4"]).await;
    update(&cluster, "n4", json!({ "version": 2, "shards": [0], "sources": { "0": "g1" } })).await;
    trial.start(&["n1"]).await;
    let mut moved = 0;
    for key in 0..20 {
        let ask = json!({ "key": key });
        loop {
            let here = cluster.ask("c", "n1", "get", ask.clone()).await;
            match (code(&here), here.get("reason").and_then(Value::as_str)) {
                (None, _) => {
                    assert_eq!(here["value"], key);
                    break;
                }
                (Some(11), Some("wrong_group")) => {
                    let there = cluster.insist("c", "n4", "get", ask).await;
                    assert_eq!(there["value"], key);
                    moved += 1;
                    break;
                }
                (Some(0 | 11), _) => {}
                _ => panic!("{here:?}"),
            }
        }
    }
    assert!((1..20).contains(&moved), "{moved} keys of 20 have moved");
    let status = cluster.insist("c", "n4", "group_status", json!({})).await;
    assert_eq!((&status["leader"], &status["version"]), (&json!("n4"), &json!(2)), "{status:?}");
    cluster.end().await;
}
