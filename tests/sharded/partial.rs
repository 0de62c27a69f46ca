//! A move that cannot go on holds back only the shards that it is about.

use std::sync::Arc;

use quorate_nodes::embedded::ReplicaFault;

use crate::common::{Client, Cluster, Expected, Setup, gid, keys};

/// The keys of these that belong to a group by the newest configuration.
async fn owned(cluster: &Cluster, group: usize) -> Vec<Arc<str>> {
    let config = cluster.config().await;
    let owner = |key: &Arc<str>| config.shard_of(key).and_then(|shard| config.owner(shard).cloned());
    keys().into_iter().filter(|key| owner(key) == Some(gid(group))).collect()
}

async fn start() -> (Cluster, Client, Expected) {
    let cluster = Setup::groups(3).snapshots_at(100).unreliable().start().await;
    let client = cluster.client();
    let expected = keys().into_iter().map(|key| (key, "100".to_owned())).collect();
    (cluster, client, expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_that_stay_are_served_while_others_cannot_come() {
    let (cluster, client, expected) = start().await;
    cluster.join([0]).await;
    cluster.put_all(&expected).await;
    cluster.join([1]).await;
    let stay = owned(&cluster, 1).await;
    assert_eq!(stay.len(), 5);
    cluster.quiet([0, 1]).await;
    for key in &stay {
        client.put(key, "101").await;
    }
    cluster.fault_all([0], ReplicaFault::Stop).await;
    // Group 1 is to get all shards now, and nobody has the others' data.
    cluster.leave([0]).await;
    cluster.reached_newest(1).await;
    for key in &stay {
        client.check(key, "101").await;
        client.put(key, "101-1").await;
        client.check(key, "101-1").await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_served_as_soon_as_it_has_come_though_others_cannot() {
    let (cluster, client, expected) = start().await;
    cluster.join([0, 1, 2]).await;
    cluster.put_all(&expected).await;
    let coming = owned(&cluster, 2).await;
    assert!(coming.len() >= 3);
    cluster.quiet([0, 1, 2]).await;
    cluster.fault_all([0], ReplicaFault::Stop).await;
    // Group 1 can fetch what group 2 had, not what group 0 had.
    cluster.leave([0, 2]).await;
    cluster.reached_newest(1).await;
    for key in &coming {
        client.check(key, "100").await;
        client.put(key, "100-2").await;
        client.check(key, "100-2").await;
    }
    assert!(!cluster.config().await.groups.contains_key(&gid(2)));
    cluster.end().await;
}
