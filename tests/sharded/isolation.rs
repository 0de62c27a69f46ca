//! A replica that lives but hears nothing of its peers must not hold others up.

use quorate::StateMachine;
use quorate_nodes::embedded::{EmbeddedGroup, ReplicaFault};

use crate::common::{Cluster, Expected, Setup, eventually, keys};

async fn start() -> (Cluster, Expected) {
    let cluster = Setup::groups(2).start().await;
    cluster.join([0]).await;
    let expected: Expected = keys().into_iter().map(|key| (key, "value".to_owned())).collect();
    cluster.put_all(&expected).await;
    cluster.quiet([0]).await;
    (cluster, expected)
}

/// Cuts off each follower in turn from its peers, not from those who ask it.
async fn isolate_first_follower<M: StateMachine>(group: &EmbeddedGroup<M>) {
    let leads = || std::future::ready(group.leader().is_some());
    eventually("the group has a leader", leads).await;
    let follower = (0..group.replicas()).find(|replica| Some(*replica) != group.leader());
    group.fault(follower.expect("there are followers"), ReplicaFault::Isolate).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_replica_that_is_cut_off_keeps_no_group_from_new_configurations() {
    let (cluster, expected) = start().await;
    isolate_first_follower(cluster.store.controller()).await;
    cluster.join([1]).await;
    cluster.quiet([0, 1]).await;
    cluster.check_all(&expected).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_source_that_is_cut_off_keeps_no_shard_from_moving() {
    let (cluster, expected) = start().await;
    isolate_first_follower(&cluster.group(0)).await;
    cluster.join([1]).await;
    cluster.quiet([0, 1]).await;
    cluster.check_all(&expected).await;
    cluster.end().await;
}
