//! Machines that persist themselves: what they hold outlives the log that is purged behind it.

use quorate::{Consistency, GroupOptions, NodeId, ReadError, Role};

use crate::common::{CALL, Cluster, Command, MUCH, World, claims, in_real_time};

claims!(
    a_durable_replica_starts_from_what_it_persisted,
    a_durable_follower_that_is_far_behind_takes_a_snapshot_into_its_own_store,
    a_log_that_was_purged_past_what_is_persisted_is_refused,
    a_store_that_cannot_be_read_stops_its_replica_and_answers_nothing,
    a_store_that_cannot_be_written_stops_its_replica_before_the_log_is_purged,
    much_that_waits_is_persisted_however_small_the_log,
    a_machine_that_becomes_durable_goes_on_from_the_snapshot_that_is_there,
    a_durable_machine_does_not_take_over,
);

fn bounded() -> GroupOptions {
    GroupOptions { snapshot_log_bytes: 4_000, snapshot_keep_entries: 8, ..World::options() }
}

async fn push(cluster: &Cluster, via: NodeId, values: std::ops::Range<u64>) {
    for value in values {
        cluster.write(via, Command::Push { value }, CALL).await.unwrap();
    }
}

async fn purged(cluster: &Cluster, node: NodeId) {
    let purged = || cluster.group(node).status().purged.is_some();
    cluster.world.eventually("the log is purged, so that it does not suffice", purged).await;
}

async fn a_durable_replica_starts_from_what_it_persisted(world: World) {
    let cluster = world.durable_cluster(3, bounded()).await;
    for round in 0..3u64 {
        for value in round * 100..round * 100 + 100 {
            let via = world.pick(&cluster.running());
            cluster.write(via, Command::Push { value }, CALL).await.unwrap();
        }
        let mut nodes = cluster.running();
        while !nodes.is_empty() {
            let node = nodes.remove(world.below(nodes.len() as u64) as usize);
            purged(&cluster, node).await;
            assert!(!cluster.has_snapshot_stored(node).await, "its own store is the only one");
            cluster.stop(node).await;
        }
        cluster.calm().await;
        let (_, list) = cluster.converge().await;
        assert_eq!(list, (0..round * 100 + 100).collect::<Vec<_>>(), "after restart {round}");
    }
}

async fn a_durable_follower_that_is_far_behind_takes_a_snapshot_into_its_own_store(world: World) {
    let cluster = world.durable_cluster(3, bounded()).await;
    let leader = cluster.leader().await;
    let late = cluster.others(leader)[0];
    push(&cluster, leader, 0..20).await;
    cluster.stop(late).await;
    push(&cluster, leader, 20..300).await;
    purged(&cluster, leader).await;
    cluster.start(late).await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..300).collect::<Vec<_>>());
    assert!(cluster.disk(late).held().intakes > 0);
    // And goes on from there, also after another life.
    cluster.stop(late).await;
    cluster.start(late).await;
    push(&cluster, late, 300..320).await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..320).collect::<Vec<_>>());
}

async fn a_log_that_was_purged_past_what_is_persisted_is_refused(world: World) {
    let cluster = world.durable_cluster(3, bounded()).await;
    let node = cluster.follower().await;
    push(&cluster, node, 0..200).await;
    purged(&cluster, node).await;
    cluster.stop(node).await;
    cluster.disk(node).wipe();
    let refused = cluster.try_start(node).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("the log is purged up to"), "{refused}");
    cluster.leader().await;
}

async fn a_store_that_cannot_be_read_stops_its_replica_and_answers_nothing(world: World) {
    for meets_it in ["a read", "a write"] {
        let cluster = world.durable_cluster(3, World::options()).await;
        let broken = cluster.leader().await;
        push(&cluster, broken, 0..10).await;
        cluster.disk(broken).held().broken = true;
        let read = |consistency| cluster.read(broken, consistency, 1, std::time::Duration::from_millis(300));
        if meets_it == "a read" {
            assert!(read(Consistency::Local).await.is_err());
        } else {
            let write = cluster.write(broken, Command::Push { value: 10 }, std::time::Duration::from_secs(2)).await;
            assert!(write.is_err(), "{write:?}");
        }
        let group = cluster.group(broken);
        world.eventually("the replica stops", || group.status().leadership.role == Role::Stopped).await;
        assert!(matches!(read(Consistency::Local).await, Err(ReadError::Fatal(_) | ReadError::Rejected(_))));
        let others = cluster.others(broken);
        cluster.leader_among(&others).await;
        push(&cluster, others[0], 20..30).await;
        cluster.stop(broken).await;
        let (_, list) = cluster.converge().await;
        assert!((0..10).chain(20..30).all(|value| list.contains(&value)), "{list:?}");
    }
}

async fn a_store_that_cannot_be_written_stops_its_replica_before_the_log_is_purged(world: World) {
    let cluster = world.durable_cluster(3, bounded()).await;
    let leader = cluster.leader().await;
    let full = cluster.others(leader)[0];
    cluster.disk(full).held().full = true;
    let group = cluster.group(full);
    push(&cluster, leader, 0..100).await;
    world.eventually("the replica stops", || group.status().leadership.role == Role::Stopped).await;
    cluster.stop(full).await;
    cluster.disk(full).held().full = false;
    cluster.start(full).await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..100).collect::<Vec<_>>());
}

async fn much_that_waits_is_persisted_however_small_the_log(world: World) {
    let options = GroupOptions { snapshot_log_bytes: u64::MAX, ..World::options() };
    let cluster = world.durable_cluster(1, options).await;
    let node = NodeId(1);
    for chunk in 0..10u64 {
        let batch = (0..60).map(|i| (None, Command::Push { value: chunk * 60 + i }));
        for written in cluster.group(node).write_many(batch, CALL).await.unwrap() {
            written.unwrap();
        }
    }
    let disk = cluster.disk(node);
    world.eventually("it is persisted several times", || disk.held().flushes >= 5).await;
    // A batch may bring it over the bound, and no other is applied before it is persisted.
    let waited_max = disk.held().waited_max;
    assert!((MUCH..=100 + 600).contains(&waited_max), "{waited_max} commands waited");
    cluster.stop(node).await;
    cluster.start(node).await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..600).collect::<Vec<_>>());
}

async fn a_machine_that_becomes_durable_goes_on_from_the_snapshot_that_is_there(world: World) {
    let cluster = world.cluster_with(3, bounded()).await;
    push(&cluster, NodeId(1), 0..200).await;
    for node in cluster.running() {
        purged(&cluster, node).await;
        cluster.stop(node).await;
    }
    cluster.durable.store(true, std::sync::atomic::Ordering::Relaxed);
    cluster.calm().await;
    push(&cluster, NodeId(1), 200..220).await;
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..220).collect::<Vec<_>>());
    assert!(cluster.running().iter().all(|node| cluster.disk(*node).held().intakes >= 1));
}

async fn a_durable_machine_does_not_take_over(world: World) {
    let cluster = world.durable_cluster(1, World::options()).await;
    let spec = cluster.spec(NodeId(1));
    let options = GroupOptions { flush_before_send: true, ..spec.options.clone() };
    let refused = cluster.host(NodeId(1)).take_over(quorate::GroupSpec { options, ..spec }, |_| true).await;
    assert!(refused.err().is_some_and(|fatal| fatal.to_string().contains("durable")));
    push(&cluster, NodeId(1), 0..3).await;
}

/// Not in virtual time, where nothing can be slow on a thread of its own.
#[test]
fn a_flush_that_takes_long_holds_up_neither_writes_nor_reads() {
    in_real_time(async |world| {
        let cluster = world.durable_cluster(1, World::options()).await;
        let (node, group) = (NodeId(1), cluster.group(NodeId(1)));
        push(&cluster, node, 0..5).await;
        let disk = cluster.disk(node);
        disk.held().slow = true;
        let snapshot = tokio::spawn(async move { group.snapshot(CALL).await });
        world.eventually("it is being persisted", || disk.held().is_waited_for).await;
        push(&cluster, node, 5..15).await;
        let read = cluster.read(node, Consistency::Linearizable, 1, CALL).await;
        assert!(read.is_ok() && !snapshot.is_finished(), "{read:?}");
        disk.held().slow = false;
        snapshot.await.unwrap().unwrap();
        cluster.stop(node).await;
        cluster.start(node).await;
        let (_, list) = cluster.converge().await;
        assert_eq!(list, (0..15).collect::<Vec<_>>());
    });
}
