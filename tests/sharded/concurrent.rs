//! Clients append while groups join, leave, crash and return: every acknowledged append is there, once, in order.

use std::time::Duration;

use quorate_nodes::embedded::ReplicaFault;
use rand::RngExt;

use crate::common::{Appenders, Cluster, Expected, Setup, keys, pause, text};

/// One key of each shard, with a short value, put.
async fn first_values(cluster: &Cluster) -> Expected {
    let mut rng = cluster.seed.rng(1);
    let expected = keys().into_iter().map(|key| (key, text(&mut rng, 5))).collect();
    cluster.put_all(&expected).await;
    expected
}

fn appenders(cluster: &Cluster, expected: Expected, pause_ms: u64) -> Appenders {
    Appenders::start(expected, || cluster.client(), &cluster.seed, Duration::from_millis(pause_ms))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_survive_the_death_of_every_group_in_mid_move() {
    let cluster = Setup::groups(3).snapshots_at(100).start().await;
    cluster.join([0]).await;
    let expected = first_values(&cluster).await;
    let load = appenders(&cluster, expected, 10);
    load.progress(3).await;
    cluster.join([1]).await;
    pause(300).await;
    cluster.join([2]).await;
    pause(300).await;
    cluster.leave([0]).await;
    cluster.fault_all([0], ReplicaFault::Stop).await;
    pause(100).await;
    cluster.fault_all([1], ReplicaFault::Stop).await;
    pause(100).await;
    cluster.fault_all([2], ReplicaFault::Stop).await;
    cluster.leave([2]).await;
    pause(100).await;
    cluster.fault_all([0, 1, 2], ReplicaFault::Start).await;
    pause(100).await;
    cluster.join([0]).await;
    cluster.leave([1]).await;
    pause(500).await;
    cluster.join([1]).await;
    load.progress(5).await;
    cluster.check_all(&load.stop().await).await;
    cluster.quiet([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_survive_groups_that_leave_together_and_come_back() {
    let cluster = Setup::groups(3).start().await;
    cluster.join([1]).await;
    cluster.join([0]).await;
    cluster.join([2]).await;
    let expected = first_values(&cluster).await;
    let load = appenders(&cluster, expected, 20);
    cluster.leave([0]).await;
    cluster.leave([2]).await;
    load.progress(15).await;
    cluster.join([0]).await;
    cluster.join([2]).await;
    cluster.leave([1]).await;
    load.progress(15).await;
    cluster.join([1]).await;
    cluster.leave([0]).await;
    cluster.leave([2]).await;
    load.progress(15).await;
    cluster.fault_all([1, 2], ReplicaFault::Stop).await;
    pause(500).await;
    cluster.fault_all([1, 2], ReplicaFault::Start).await;
    load.progress(15).await;
    cluster.check_all(&load.stop().await).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

/// Groups join and leave all the time, and all of them crash and start again in the midst of it.
async fn rolling_crashes(rounds: usize) {
    let cluster = Setup::groups(3).snapshots_at(300).start().await;
    cluster.join([0]).await;
    let expected = first_values(&cluster).await;
    let load = appenders(&cluster, expected, 0);
    let mut rng = cluster.seed.rng(2);
    for _ in 0..rounds {
        cluster.join([2]).await;
        cluster.join([1]).await;
        pause(rng.random_range(0..600)).await;
        cluster.fault_all([0, 1, 2], ReplicaFault::Stop).await;
        cluster.fault_all([0, 1, 2], ReplicaFault::Start).await;
        pause(rng.random_range(0..900)).await;
        cluster.leave([1]).await;
        cluster.leave([2]).await;
        pause(rng.random_range(0..600)).await;
    }
    load.progress(3).await;
    cluster.check_all(&load.stop().await).await;
    cluster.quiet([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_without_pause_survive_crashes_of_all_groups_between_moves() {
    rolling_crashes(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn appends_without_pause_survive_crashes_of_all_groups_between_moves_long() {
    rolling_crashes(15).await;
}
