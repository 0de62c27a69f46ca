//! Trials of small nodes, good ones and bad ones.

use quorate_harness::stdio::processes::Seat;
use quorate_harness::stdio::trial::Trial;
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_sample-node");
const NAMES: [&str; 2] = ["n1", "n2"];

fn trial(kind: &str) -> Trial {
    Trial::new(1).with(NODE, &[kind, "--data-dir", "{data}"], Seat::peers(&NAMES))
}

/// A register's value, or the code of the error.
async fn read(trial: &Trial, node: &str) -> Value {
    let answer = trial.ask("c1", node, "read", json!({ "key": 1 })).await;
    answer.get("value").or(answer.get("code")).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_trial_is_told_who_runs_and_who_hears_whom() {
    let trial = trial("file").with(NODE, &["memory"], Seat::peers(&["m1"]));
    assert_eq!(read(&trial, "n1").await, 11, "it does not run");
    trial.start(&["n1", "n2", "m1"]).await;
    for node in ["n1", "m1"] {
        trial.ask("c1", node, "write", json!({ "key": 1, "value": "w" })).await;
        trial.kill(&[node]).await;
        assert_eq!(read(&trial, node).await, 11);
        trial.start(&[node]).await;
    }
    assert_eq!(read(&trial, "n1").await, "w", "what it has kept");
    assert_eq!(read(&trial, "m1").await, 20, "what it has not");

    let neighbours = json!({ "topology": { "n1": ["n2"], "n2": [] } });
    for node in NAMES {
        trial.ask("c1", node, "topology", neighbours.clone()).await;
    }
    trial.network().cut_off(&["n2"]);
    trial.ask("c1", "n1", "broadcast", json!({ "message": 1 })).await;
    assert_eq!(trial.ask("c1", "n2", "read", json!({})).await["messages"], json!([]));
    trial.network().cut_off(&[]);
    trial.ask("c1", "n1", "broadcast", json!({ "message": 2 })).await;
    assert_eq!(trial.ask("c1", "n2", "read", json!({})).await["messages"], json!([2]), "a cut's victim stays lost");
    assert_eq!(trial.network().sent("tell"), 2);
    assert!(trial.end().await.is_empty(), "nobody is told what it has not asked");
}

#[tokio::test]
async fn a_node_that_was_launched_waits_for_somebody_to_init_it() {
    let trial = trial("memory");
    trial.launch(&NAMES).await;
    let init = json!({ "node_id": "n2", "node_ids": NAMES });
    assert_eq!(trial.ask("c2", "n2", "init", init).await["type"], "init_ok");
    assert_eq!(read(&trial, "n2").await, 20);
    trial.end().await;
}

#[tokio::test]
async fn what_no_harness_would_take_from_a_node_fails_a_trial() {
    for (kind, complaint) in [
        ("babbling", "node n1 wrote a line that is no message"),
        ("lost", "there is no node or client \"n99\""),
        ("ending", "node n1 has ended by itself"),
    ] {
        let failing = tokio::spawn(async move {
            let trial = trial(kind);
            trial.start(&["n1"]).await;
            for _ in 0..20 {
                read(&trial, "n1").await;
            }
        });
        let panic = failing.await.expect_err(kind).into_panic();
        let said = panic.downcast_ref::<String>().expect("a panic says something");
        assert!(said.contains(complaint), "{kind}: {said}");
    }
}
