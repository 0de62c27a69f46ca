//! Processes that are killed lose nothing that was acknowledged, and double nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_nodes::server::proto::change_request::Change;
use quorate_nodes::server::{Client, ClientError};

use crate::cluster::{Cluster, PATIENCE};

const WRITERS: usize = 4;

/// What a writer knows of its appends: which were acknowledged, which may have happened.
#[derive(Default)]
struct Known {
    acknowledged: Vec<u64>,
    unknown: Vec<u64>,
}

/// Appends 0, 1, 2... to a list until told to stop.
async fn write(client: Client, key: String, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let change = match number {
            0 => Change::Put("[0]".into()),
            _ => Change::Append(number.to_string()),
        };
        match client.change(&key, change, Duration::from_secs(10)).await {
            Ok(_) => known.acknowledged.push(number),
            Err(ClientError::Unknown(_)) => known.unknown.push(number),
            Err(ClientError::Rejected(_)) => {}
        }
        assert!(number > 0 || known.acknowledged == [0], "the list must be there");
    }
    known
}

async fn read(client: &Client, key: &str) -> Vec<u64> {
    let reply = client.get(key, None, PATIENCE).await.expect("an answer");
    serde_json::from_str(&reply.value.expect("a list")).expect("numbers")
}

/// Kills one node after the other, and all of them at once at the end, under load.
async fn kill_under_load(kills: usize) {
    let mut cluster = Cluster::start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..WRITERS)
        .map(|nth| tokio::spawn(write(cluster.client(), format!("list{nth}"), Arc::clone(&stop))))
        .collect();
    let observer = cluster.client();
    for kill in 0..kills {
        let at = async |key: &str| match observer.get(key, None, PATIENCE).await.expect("an answer").value {
            Some(list) => serde_json::from_str::<Vec<u64>>(&list).expect("numbers").len(),
            None => 0,
        };
        // Some progress between any two kills.
        let before = at("list0").await;
        while at("list0").await < before + 5 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let victim = kill % 3;
        cluster.kill(victim);
        cluster.spawn(victim);
    }
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for writer in writers {
        all.push(writer.await.expect("a writer"));
    }
    for nth in 0..3 {
        cluster.kill(nth);
    }
    for nth in 0..3 {
        cluster.spawn(nth);
    }
    for (nth, known) in all.iter().enumerate() {
        let mut held = read(&observer, &format!("list{nth}")).await;
        assert!(held.is_sorted(), "one writer's appends are in their order");
        let count = held.len();
        held.dedup();
        assert_eq!(held.len(), count, "nothing is doubled");
        for number in &known.acknowledged {
            assert!(held.binary_search(number).is_ok(), "list{nth} has lost {number}, which was acknowledged");
        }
        for number in &held {
            let possible = known.acknowledged.contains(number) || known.unknown.contains(number);
            assert!(possible, "list{nth} has {number}, which was refused");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_under_load_lose_nothing_acknowledged_and_double_nothing() {
    kill_under_load(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_group_serves_though_one_of_its_nodes_is_dead_when_it_joins() {
    let mut cluster = Cluster::start(3).await;
    cluster.kill(0);
    cluster.join_through(1, "g2").await;
    // So many keys that each of the four shards, and so each group, has one.
    let client = cluster.client();
    for nth in 0..32 {
        let put = Change::Put(nth.to_string());
        client.change(&format!("key{nth}"), put, PATIENCE).await.expect("either group takes it");
    }
}

/// `cargo test -p quorate-nodes --test server -- --ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn fifty_kills_under_load_lose_nothing_acknowledged_and_double_nothing() {
    kill_under_load(50).await;
}
