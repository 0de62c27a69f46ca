//! A scan over the whole store: every key once, or an error; never some of them.

use std::sync::Arc;
use std::time::Duration;

use quorate_nodes::embedded::ReplicaFault;
use quorate_nodes::kv::{KvClient, Reach, ScanRange};
use quorate_statemachines::configlog::ConfigLog;

use crate::common::{Cluster, Expected, PATIENCE, Setup, keys, text};

/// Two groups with keys, and a third one that has none yet.
async fn start() -> (Cluster, Expected) {
    let cluster = Setup::groups(3).start().await;
    cluster.join([0, 1]).await;
    let mut rng = cluster.seed.rng(1);
    let expected: Expected = keys().into_iter().map(|key| (key, text(&mut rng, 10))).collect();
    cluster.put_all(&expected).await;
    (cluster, expected)
}

/// A client that has heard of nothing yet.
fn stranger(cluster: &Cluster) -> KvClient {
    let store = &cluster.store;
    let configs: Arc<dyn Reach<ConfigLog>> = Arc::clone(store.controller()) as Arc<dyn Reach<ConfigLog>>;
    KvClient::new(Arc::clone(store.world().env()), configs, store.groups().directory())
}

async fn check(client: &KvClient, expected: &Expected) {
    let page = client.scan(ScanRange::default(), PATIENCE).await.expect("all groups live");
    let found: Vec<_> = page.items.iter().map(|(key, _)| Arc::clone(key)).collect();
    assert_eq!(found, expected.keys().cloned().collect::<Vec<_>>(), "not every key once");
    assert!(!page.more);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_fails_rather_than_leave_out_the_shards_of_a_dead_group() {
    let (cluster, expected) = start().await;
    check(cluster.kv(), &expected).await;
    cluster.fault_all([1], ReplicaFault::Stop).await;
    let partial = cluster.kv().scan(ScanRange::default(), Duration::from_millis(500)).await;
    assert!(partial.is_err(), "a scan without a group's shards: {partial:?}");
    cluster.fault_all([1], ReplicaFault::Start).await;
    check(cluster.kv(), &expected).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_began_by_an_old_configuration_counts_no_key_twice() {
    let (cluster, expected) = start().await;
    let client = stranger(&cluster);
    check(&client, &expected).await;
    // Unknown to the client, some shards move, and their old groups know nothing of them any more.
    cluster.join([2]).await;
    cluster.quiet([0, 1, 2]).await;
    check(&client, &expected).await;
    cluster.end().await;
}
