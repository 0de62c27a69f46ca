//! A group whose quorum is lost goes on with what one replica has.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate::{GroupOptions, NodeId, Recovery, WriteError};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(
    a_replica_goes_on_alone_with_all_that_it_has,
    a_durable_replica_goes_on_alone_with_all_that_it_has,
    what_was_not_acknowledged_counts_after_a_recovery,
    looking_at_a_replica_changes_nothing,
    a_recovered_group_takes_new_nodes_in,
    a_replica_that_has_nothing_cannot_go_on,
);

fn options() -> GroupOptions {
    GroupOptions { snapshot_log_bytes: 4_000, snapshot_keep_entries: 8, ..World::options() }
}

async fn recovery(cluster: &Cluster, node: NodeId) -> Recovery {
    Recovery::open(node, cluster.spec(node)).await.unwrap()
}

/// Fills the group, and stops all of its nodes.
async fn filled_and_stopped(cluster: &Cluster) -> Vec<u64> {
    for value in 0..150 {
        let via = cluster.world.pick(&cluster.running());
        cluster.write(via, Command::Push { value }, CALL).await.unwrap();
    }
    let (_, list) = cluster.converge().await;
    for node in cluster.running() {
        cluster.stop(node).await;
    }
    list
}

async fn goes_on_alone(cluster: Cluster) {
    let list = filled_and_stopped(&cluster).await;
    let node = cluster.world.pick(&[1, 2, 3].map(NodeId));
    let recovery = recovery(&cluster, node).await;
    let remains = recovery.remains().clone();
    assert_eq!(remains.membership.voters, [BTreeSet::from([1, 2, 3].map(NodeId))], "{remains:?}");
    assert!(!remains.is_alone() && !remains.is_empty(), "{remains:?}");
    assert!(remains.kept.is_some() && remains.committed <= remains.last, "{remains:?}");
    recovery.go_alone().await.unwrap();
    // Again: nothing is left to do.
    let again = self::recovery(&cluster, node).await;
    assert!(again.remains().is_alone(), "{:?}", again.remains());
    assert!(again.remains().term > remains.term, "{:?}", again.remains());
    again.go_alone().await.unwrap();
    cluster.start(node).await;
    assert_eq!(cluster.leader().await, node);
    assert_eq!(cluster.converge().await.1, list);
}

async fn a_replica_goes_on_alone_with_all_that_it_has(world: World) {
    goes_on_alone(world.cluster_with(3, options()).await).await;
}

async fn a_durable_replica_goes_on_alone_with_all_that_it_has(world: World) {
    let cluster = world.durable_cluster(3, options()).await;
    assert!(cluster.durable.load(Ordering::Relaxed));
    goes_on_alone(cluster).await;
}

async fn what_was_not_acknowledged_counts_after_a_recovery(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    cluster.raise(leader, 1, 1).await;
    for node in cluster.others(leader) {
        cluster.stop(node).await;
    }
    let write = cluster.write(leader, Command::Push { value: 7 }, Duration::from_millis(100)).await;
    assert!(matches!(write, Err(WriteError::Unknown(_))), "{write:?}");
    cluster.stop(leader).await;
    let recovery = recovery(&cluster, leader).await;
    assert!(recovery.remains().uncertain() >= 1, "{:?}", recovery.remains());
    recovery.go_alone().await.unwrap();
    cluster.start(leader).await;
    assert_eq!(cluster.converge().await.1, [7]);
}

async fn looking_at_a_replica_changes_nothing(world: World) {
    let cluster = world.cluster_with(3, options()).await;
    let list = filled_and_stopped(&cluster).await;
    for node in [1, 2, 3].map(NodeId) {
        let first = recovery(&cluster, node).await.remains().clone();
        assert_eq!(*recovery(&cluster, node).await.remains(), first);
    }
    cluster.calm().await;
    assert_eq!(cluster.converge().await.1, list);
}

async fn a_recovered_group_takes_new_nodes_in(world: World) {
    let cluster = world.cluster_with(3, options()).await;
    let list = filled_and_stopped(&cluster).await;
    recovery(&cluster, NodeId(2)).await.go_alone().await.unwrap();
    let group = cluster.start(NodeId(2)).await;
    for new in [4, 5].map(NodeId) {
        cluster.start(new).await;
        group.add_voter(new, CALL).await.unwrap();
    }
    assert_eq!(cluster.converge().await.1, list);
    cluster.stop(NodeId(2)).await;
    assert_eq!(cluster.converge().await.1, list);
}

async fn a_replica_that_has_nothing_cannot_go_on(world: World) {
    let cluster = Cluster::new(&world, World::options());
    cluster.start(NodeId(1)).await;
    cluster.stop(NodeId(1)).await;
    let recovery = recovery(&cluster, NodeId(1)).await;
    assert!(recovery.remains().is_empty(), "{:?}", recovery.remains());
    assert!(recovery.go_alone().await.is_err());
}
