//! A follower's answer is never older than it says.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use quorate_nodes::services::{Replica, ServiceOptions};
use serde_json::json;

use crate::cluster::{Cluster, code};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_followers_answer_is_never_older_than_it_says() {
    let nodes = ["n1", "n2", "n3"];
    let cluster = Cluster::serve(Replica::new(ServiceOptions::default()), Duration::from_secs(2));
    cluster.insist("c", "n1", "init", json!({ "node_id": "n1", "node_ids": nodes })).await;
    // What has been acknowledged, and when that was known.
    let acknowledged = Mutex::new(vec![(0, Instant::now())]);
    cluster.insist("w", "n1", "write", json!({ "key": "k", "value": 0 })).await;

    let writing = async {
        for value in 1..400 {
            let answer = cluster.ask("w", "n1", "write", json!({ "key": "k", "value": value })).await;
            if code(&answer).is_none() {
                acknowledged.lock().expect("nobody panicked").push((value, Instant::now()));
            }
            if value % 100 == 50 {
                cluster.fault("isolate", "n3").await;
            } else if value % 100 == 90 {
                cluster.fault("heal", "n3").await;
            }
        }
    };
    let reading = async |nth: usize| {
        let (mut answered, mut redirected) = (0, 0);
        for round in 0..200 {
            let node = nodes[(nth + round) % 3];
            let bound = [5, 50, 500][round % 3];
            let called = Instant::now();
            let fields = json!({ "key": "k", "max_staleness_ms": bound });
            let answer = cluster.ask(&format!("r{nth}"), node, "follower_read", fields).await;
            if code(&answer).is_some() {
                continue;
            }
            let age = answer["actual_staleness_ms"].as_u64().expect("an age");
            assert!(age <= bound, "{answer:?} is older than {bound} ms");
            let is_redirected = answer.get("reason").is_some_and(|reason| reason == "staleness_bound_exceeded");
            assert_eq!(is_redirected, answer["served_by"] != node, "{answer:?} of {node}");
            assert!(answer["linearizable"] == true || !is_redirected, "{answer:?}");
            let fresh_at = called.checked_sub(Duration::from_millis(age)).expect("the machine runs for longer");
            let expected = acknowledged
                .lock()
                .expect("nobody panicked")
                .iter()
                .rev()
                .find(|(_, at)| *at <= fresh_at)
                .map(|(value, _)| *value);
            let value = answer["value"].as_u64().expect("it was written");
            assert!(Some(value) >= expected, "{answer:?}, but {expected:?} was acknowledged {age} ms before the call");
            answered += 1;
            redirected += usize::from(is_redirected);
        }
        println!("{answered} answers, {redirected} of them by the leader instead");
        answered
    };
    let ((), one, other) = tokio::join!(writing, reading(0), reading(1));
    assert!(one > 0 && other > 0);
    cluster.end().await;
}
