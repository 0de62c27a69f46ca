//! The network between all nodes loses a tenth of the requests and a tenth of the replies, and delays the rest.

use std::time::Duration;

use crate::common::{Appenders, Cluster, Expected, RandomClients, Setup, keys, pause, text};

async fn start() -> (Cluster, Expected) {
    let cluster = Setup::groups(3).snapshots_at(100).unreliable().start().await;
    cluster.join([0]).await;
    let mut rng = cluster.seed.rng(1);
    let expected = keys().into_iter().map(|key| (key, text(&mut rng, 5))).collect();
    cluster.put_all(&expected).await;
    (cluster, expected)
}

/// Groups join and leave while clients work.
async fn joins_and_leaves(cluster: &Cluster) {
    pause(150).await;
    cluster.join([1]).await;
    pause(500).await;
    cluster.join([2]).await;
    pause(500).await;
    cluster.leave([0]).await;
    pause(500).await;
    cluster.leave([1]).await;
    pause(500).await;
    cluster.join([1]).await;
    cluster.join([0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_each_append_takes_effect_once() {
    let (cluster, mut expected) = start().await;
    cluster.join([1]).await;
    cluster.join([2]).await;
    cluster.leave([0]).await;
    let (client, keys) = (cluster.client(), keys());
    let mut rng = cluster.seed.rng(2);
    for round in 0..20 {
        let key = &keys[round % keys.len()];
        let value = expected.get_mut(key).expect("all keys were put");
        client.check(key, value).await;
        let more = text(&mut rng, 5);
        client.append(key, &more).await;
        value.push_str(&more);
    }
    cluster.join([0]).await;
    cluster.leave([1]).await;
    for round in 0..20 {
        let key = &keys[round % keys.len()];
        client.check(key, &expected[key]).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_concurrent_appends_survive_joins_and_leaves() {
    let (cluster, expected) = start().await;
    let load = Appenders::start(expected, || cluster.client(), &cluster.seed, Duration::ZERO);
    joins_and_leaves(&cluster).await;
    load.progress(3).await;
    cluster.network().clear_faults();
    cluster.check_all(&load.stop().await).await;
    cluster.quiet([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_the_whole_store_is_linearizable_per_key_across_moves() {
    let cluster = Setup::groups(3).snapshots_at(100).unreliable().start().await;
    cluster.join([0]).await;
    let clients = RandomClients::start(&cluster, 10);
    joins_and_leaves(&cluster).await;
    pause(1000).await;
    cluster.network().clear_faults();
    clients.judge().await;
    cluster.end().await;
}
