//! Masters that are processes: an epoch has one primary, epochs rise over crashes, and of two one goes on alone and takes
//! the other in again.

use std::sync::Arc;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_harness::stdio::processes::Seat;
use quorate_harness::stdio::trial::Trial;
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, code};
use crate::processes::processes;

const MASTER: &str = env!("CARGO_BIN_EXE_master-process");

const ARGS: [&str; 9] = [
    "--distributed",
    "--heartbeat",
    "80",
    "--request-timeout",
    "1500",
    "--failure-timeout",
    "1500",
    "--data-dir",
    "{data}",
];

struct Masters {
    nodes: &'static [&'static str],
    trial: Arc<Trial>,
    cluster: Cluster,
    _seed: Seed,
}

impl Masters {
    async fn start(nodes: &'static [&'static str]) -> Masters {
        let seed = Seed::of("linkv");
        let (trial, cluster) = processes(&seed, MASTER, &ARGS, Seat::peers(nodes));
        trial.start(nodes).await;
        Masters { nodes, trial, cluster, _seed: seed }
    }

    /// Asks one master after the other until one answers.
    async fn ask(&self, kind: &str, fields: Value) -> Map<String, Value> {
        loop {
            for node in self.nodes {
                let answer = self.cluster.ask("watcher", node, kind, fields.clone()).await;
                match code(&answer) {
                    None => return answer,
                    // A repetition whose first answer was lost.
                    Some(21) => return answer,
                    Some(0 | 11 | 13) => {}
                    Some(_) => panic!("{kind}: {answer:?}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The primary and its epoch, which the watcher is told of from now on.
    async fn office(&self) -> (&'static str, u64) {
        let answer = self.ask("subscribe", json!({})).await;
        let primary = self.nodes.iter().find(|node| answer["primary"] == **node).expect("one of them");
        (primary, answer["epoch"].as_u64().expect("an epoch"))
    }

    fn other(&self, than: &str) -> &'static str {
        self.nodes.iter().find(|node| **node != than).expect("another one")
    }

    async fn restart(&self, node: &str) {
        self.trial.start(&[node]).await;
    }

    /// Waits until all masters live, and all shadows have what the primary has.
    async fn whole(&self) {
        loop {
            let status = self.cluster.ask("c", self.nodes[0], "shadow_status", json!({})).await;
            let caught_up = |shadow: &Value| shadow["alive"] == true && shadow["wal_lag_ms"].is_u64();
            if let Some(shadows) = status.get("shadows").and_then(Value::as_array)
                && shadows.len() + 1 == self.nodes.len()
                && shadows.iter().all(caught_up)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends, and checks what the watcher was told: an epoch has one primary.
    async fn end(self) {
        let mut told: Vec<(u64, String)> = Vec::new();
        for message in self.trial.end().await {
            assert_eq!(message.kind, "primary_changed");
            let body = message.fields();
            let primary = body["primary"].as_str().expect("a name").to_owned();
            assert_eq!(message.src, primary, "a primary speaks for itself");
            told.push((body["epoch"].as_u64().expect("an epoch"), primary));
        }
        told.sort();
        assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "told twice of an epoch: {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_processes_hand_over_and_survive_crashes() {
    let masters = Masters::start(&["m1", "m2", "m3"]).await;
    masters.ask("create", json!({ "path": "/a" })).await;
    masters.whole().await;
    let (primary, epoch) = masters.office().await;
    let shadow = masters.other(primary);
    let wrong = masters.cluster.ask("op", primary, "trigger_failover", json!({ "failed_master": shadow })).await;
    assert!(matches!(code(&wrong), Some(22)), "{wrong:?}");
    let fail_over = json!({ "failed_master": primary, "to": shadow, "timeout_ms": 20_000 });
    let reply = masters.cluster.ask("op", shadow, "trigger_failover", fail_over).await;
    // On a busy machine an election may come before it.
    assert!(matches!(code(&reply), None | Some(11 | 22)), "{reply:?}");
    let (primary, second) = masters.office().await;
    assert!(code(&reply).is_some() || second > epoch, "{second} after {epoch}");

    masters.trial.kill(&[primary]).await;
    let shadow = masters.other(primary);
    let fail_over = json!({ "failed_master": primary, "timeout_ms": 20_000 });
    let reply = masters.cluster.ask("op", shadow, "trigger_failover", fail_over).await;
    assert!(matches!(code(&reply), None | Some(22)), "{reply:?}");
    let (_, third) = masters.office().await;
    assert!(third > second, "{third} after {second}");
    masters.ask("create", json!({ "path": "/b" })).await;
    masters.restart(primary).await;
    masters.whole().await;

    masters.trial.kill(masters.nodes).await;
    masters.trial.start(masters.nodes).await;
    let (_, fourth) = masters.office().await;
    assert!(fourth > third, "{fourth} after {third}");
    assert_eq!(masters.ask("list", json!({ "prefix": "/" })).await["paths"], json!(["/a", "/b"]));
    masters.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_masters_that_are_processes_one_goes_on_alone_and_the_other_waits() {
    let masters = Masters::start(&["m1", "m2"]).await;
    for round in 0..2 {
        masters.ask("create", json!({ "path": format!("/together/{round}") })).await;
        masters.whole().await;
        let (primary, epoch) = masters.office().await;
        let shadow = masters.other(primary);
        masters.trial.kill(&[primary]).await;
        // On the operator's word, or by itself.
        if round == 0 {
            let fail_over = json!({ "failed_master": primary, "timeout_ms": 20_000 });
            let reply = masters.cluster.ask("op", shadow, "trigger_failover", fail_over).await;
            assert!(matches!(code(&reply), None | Some(22)), "{reply:?}");
        }
        let (now, next) = masters.office().await;
        assert_eq!(now, shadow);
        assert!(next > epoch, "{next} after {epoch}");
        masters.ask("create", json!({ "path": format!("/alone/{round}") })).await;
        if round == 0 {
            masters.restart(primary).await;
            continue;
        }
        // The one that knows of it dies, and the one that does not comes back: it waits, however long.
        masters.trial.kill(&[shadow]).await;
        masters.restart(primary).await;
        let asked = json!({ "failed_master": shadow, "timeout_ms": 3000 });
        for _ in 0..2 {
            let refused = masters.cluster.ask("op", primary, "trigger_failover", asked.clone()).await;
            assert!(code(&refused).is_some(), "{refused:?}");
            let create = json!({ "path": "/never" });
            let refused = masters.cluster.ask("c", primary, "create", create).await;
            assert!(code(&refused).is_some(), "{refused:?}");
        }
        masters.restart(shadow).await;
    }
    masters.whole().await;
    let paths = json!(["/alone/0", "/alone/1", "/together/0", "/together/1"]);
    assert_eq!(masters.ask("list", json!({ "prefix": "/" })).await["paths"], paths);
    masters.end().await;
}
