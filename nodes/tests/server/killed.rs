//! Processes that are killed lose nothing that was acknowledged, and double nothing.

use quorate_nodes::server::proto::change_request::Change;

use crate::cluster::{Cluster, PATIENCE};
use crate::writers::Writers;

/// Kills one node after the other, and all of them at once at the end, under load.
async fn kill_under_load(kills: usize) {
    let mut cluster = Cluster::start(3).await;
    let writers = Writers::start(&cluster);
    for kill in 0..kills {
        // Some progress between any two kills.
        writers.progress().await;
        let victim = kill % 3;
        cluster.kill(victim);
        cluster.spawn(victim);
    }
    let told = writers.stop().await;
    for nth in 0..3 {
        cluster.kill(nth);
    }
    for nth in 0..3 {
        cluster.spawn(nth);
    }
    told.check(&cluster.client()).await;
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
