//! The log stays within its bound, and snapshots carry what it no longer holds.

use std::time::Duration;

use quorate::{Consistency, GroupOptions, NodeId};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(
    the_log_stays_within_its_bound,
    the_log_stays_within_its_bound_also_while_a_follower_is_dead,
    the_log_stays_within_its_bound_also_when_few_entries_fill_it,
    the_log_stays_within_its_bound_also_when_each_entry_passes_it,
    a_follower_that_is_far_behind_catches_up_by_a_snapshot,
    a_snapshot_asked_for_is_there_when_the_call_returns_also_while_writes_go_on,
    a_follower_catches_up_by_a_snapshot_through_a_bad_network,
);

const BOUND: u64 = 60_000;

fn bounded() -> GroupOptions {
    GroupOptions { snapshot_log_bytes: BOUND, snapshot_keep_entries: 8, ..World::options() }
}

async fn fill(cluster: &Cluster, via: NodeId, keys: std::ops::Range<u64>, room: usize) {
    for key in keys {
        cluster.write(via, Command::Fill { key, to: key, room: vec![7; room] }, CALL).await.unwrap();
    }
}

async fn within_bound(cluster: &Cluster, bound: u64) {
    let what = format!("every log is within {bound} bytes");
    let bytes = |node: &NodeId| cluster.group(*node).status().log_bytes;
    let within = || cluster.running().iter().all(|node| bytes(node) <= bound);
    cluster.world.eventually(&what, within).await;
}

async fn the_log_stays_within_its_bound(world: World) {
    let cluster = world.cluster_with(3, bounded()).await;
    let mut largest = 0;
    for round in 0..10 {
        fill(&cluster, NodeId(1), round * 20..(round + 1) * 20, 2000).await;
        largest = largest.max(cluster.group(cluster.leader().await).status().log_bytes);
        within_bound(&cluster, BOUND + 20_000).await;
    }
    assert!(!world.is_virtual || largest < 2 * BOUND, "the log grew to {largest} bytes");
    let (values, _) = cluster.converge().await;
    assert!((0..200).all(|key| values.get(&key) == Some(&key)));
}

async fn the_log_stays_within_its_bound_also_while_a_follower_is_dead(world: World) {
    for silent in [false, true] {
        let cluster = world.cluster_with(3, bounded()).await;
        let leader = cluster.leader().await;
        let dead = cluster.others(leader)[0];
        fill(&cluster, leader, 0..5, 2000).await;
        if silent {
            cluster.network.isolate(dead);
        } else {
            cluster.stop(dead).await;
        }
        let alive = if silent { cluster.others(dead) } else { cluster.running() };
        for round in 0..10 {
            fill(&cluster, alive[0], round * 20..(round + 1) * 20, 2000).await;
        }
        let bytes = |node: &NodeId| cluster.group(*node).status().log_bytes;
        world.eventually("the living purge their logs", || alive.iter().all(|node| bytes(node) < 2 * BOUND)).await;
        cluster.calm().await;
        let (values, _) = cluster.converge().await;
        assert!((0..200).all(|key| values.get(&key) == Some(&key)));
    }
}

async fn the_log_stays_within_its_bound_also_when_few_entries_fill_it(world: World) {
    let options = GroupOptions { snapshot_keep_entries: 256, ..bounded() };
    let cluster = world.cluster_with(3, options).await;
    fill(&cluster, NodeId(1), 0..40, BOUND as usize / 4).await;
    within_bound(&cluster, BOUND * 2).await;
    let (values, _) = cluster.converge().await;
    assert!((0..40).all(|key| values.get(&key) == Some(&key)));
}

async fn the_log_stays_within_its_bound_also_when_each_entry_passes_it(world: World) {
    // A snapshot is wanted at each apply, also when the one just made covers it already.
    let options = GroupOptions { snapshot_log_bytes: 1, snapshot_keep_entries: 4, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    for round in 0..20 {
        fill(&cluster, NodeId(1), round * 20..(round + 1) * 20, 500).await;
        within_bound(&cluster, 5 * 1000).await;
    }
    let (values, _) = cluster.converge().await;
    assert!((0..400).all(|key| values.get(&key) == Some(&key)));
}

async fn a_follower_that_is_far_behind_catches_up_by_a_snapshot(world: World) {
    let cluster = world.cluster_with(3, bounded()).await;
    let leader = cluster.leader().await;
    let late = cluster.others(leader)[0];
    fill(&cluster, leader, 0..5, 2000).await;
    cluster.stop(late).await;
    fill(&cluster, leader, 5..150, 2000).await;
    let purged = || cluster.group(leader).status().purged;
    world.eventually("the log is purged, so that it does not suffice", || purged().is_some()).await;
    let held = purged();
    cluster.start(late).await;
    let (values, _) = cluster.converge().await;
    assert!((0..150).all(|key| values.get(&key) == Some(&key)));
    assert!(cluster.group(late).status().snapshot >= held);
    // And goes on from there, also after another life.
    cluster.stop(late).await;
    cluster.start(late).await;
    cluster.raise(late, 200, 1).await;
    assert_eq!(cluster.read(late, Consistency::LinearizableHere, 149, CALL).await.unwrap().answer, 149);
}

async fn a_snapshot_asked_for_is_there_when_the_call_returns_also_while_writes_go_on(world: World) {
    let cluster = std::sync::Arc::new(world.cluster(3).await);
    let writer = {
        let cluster = std::sync::Arc::clone(&cluster);
        tokio::spawn(async move {
            for value in 0..300 {
                cluster.write(NodeId(1), Command::Push { value }, CALL).await.unwrap();
                if cluster.world.is_virtual {
                    cluster.world.sleep(Duration::from_millis(1)).await;
                }
            }
        })
    };
    let mut taken = 0;
    while !writer.is_finished() {
        let node = world.pick(&cluster.running());
        let before = cluster.group(node).applied();
        let both = [cluster.group(node), cluster.group(node)];
        for result in futures::future::join_all(both.iter().map(|group| group.snapshot(CALL))).await {
            result.unwrap();
        }
        let after = cluster.group(node).status().snapshot.map(|id| id.index);
        assert!(after >= before, "{after:?} does not cover {before:?}");
        taken += 1;
        world.sleep(Duration::from_millis(3)).await;
    }
    writer.await.unwrap();
    assert!(taken > 3, "only {taken} snapshots");
    for node in cluster.running() {
        cluster.group(node).snapshot(CALL).await.unwrap();
        cluster.stop(node).await;
    }
    cluster.calm().await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..300).collect::<Vec<_>>());
}

async fn a_follower_catches_up_by_a_snapshot_through_a_bad_network(world: World) {
    let cluster = world.cluster_with(3, bounded()).await;
    let leader = cluster.leader().await;
    let late = cluster.others(leader)[0];
    cluster.stop(late).await;
    fill(&cluster, leader, 0..300, 1000).await;
    for value in 0..20_000 / 100 {
        let batch = (0..100).map(|i| (None, Command::Push { value: value * 100 + i }));
        cluster.group(leader).write_many(batch, CALL).await.unwrap();
    }
    cluster.network.set_faults(quorate::transport::Link::ALL, crate::faults::bad_network());
    cluster.start(late).await;
    let at = cluster.group(leader).applied().unwrap();
    assert!(cluster.group(late).wait_applied(at, Duration::from_secs(60)).await, "{:?}", cluster.group(late).status());
    cluster.calm().await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list.len(), 20_000);
}
