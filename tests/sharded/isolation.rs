//! A replica that lives but hears nothing of its peers must not hold others up.

use quorate::StateMachine;
use quorate_nodes::embedded::{EmbeddedGroup, ReplicaFault};
use quorate_nodes::kv::DriverOptions;
use quorate_statemachines::ShardId;

use crate::common::stage::{Stage, gate};
use crate::common::{Cluster, Expected, Setup, eventually, gid, key, keys, status};

async fn start() -> (Cluster, Expected) {
    let cluster = Setup::groups(2).start().await;
    cluster.join([0]).await;
    let expected: Expected = keys().into_iter().map(|key| (key, "value".to_owned())).collect();
    cluster.put_all(&expected).await;
    cluster.quiet([0]).await;
    (cluster, expected)
}

/// Cuts off the follower that is asked first from its peers, not from those who ask it.
async fn isolate_first_follower<M: StateMachine>(group: &EmbeddedGroup<M>) {
    let leads = || std::future::ready(group.leader().is_some());
    eventually("the group has a leader", leads).await;
    let follower = (0..group.replicas()).find(|replica| Some(*replica) != group.leader());
    group.fault(follower.expect("there are followers"), ReplicaFault::Isolate).await.expect("isolating is possible");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_the_source_that_is_cut_off_in_mid_copy_keeps_no_shard_frozen() {
    let driver = DriverOptions { chunk_bytes: 256, ..DriverOptions::default() };
    let stage = Stage::start(Setup::groups(2).moves(driver)).await;
    let both = [gid(0), gid(1)];
    let number = stage.move_shard(0, &both[0]).await;
    stage.quiet(&both, number).await;
    let client = stage.client();
    let keys: Vec<_> = (0..20).map(|nth| key(0, nth)).collect();
    for key in &keys {
        client.put(key, &"old".repeat(20)).await;
    }
    let gate = gate(&stage, 2);
    let number = stage.move_shard(0, &both[1]).await;
    let destination = stage.group(&both[1]);
    eventually("two pieces are copied", || async {
        status(&destination)
            .await
            .is_some_and(|status| status.shards.get(&ShardId(0)).is_some_and(|shard| shard.keys > 1))
    })
    .await;
    isolate_first_follower(&stage.group(&both[0])).await;
    // More changes than fit into one piece, of which that replica knows nothing.
    let new = "new".repeat(20);
    for key in &keys {
        client.put(key, &new).await;
    }
    gate.send_replace(true);
    stage.quiet(&both, number).await;
    for key in &keys {
        client.check(key, &new).await;
    }
    stage.end().await;
}
