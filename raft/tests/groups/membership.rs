//! Nodes join, catch up, vote, leave, and are replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate::transport::{Link, LinkFaults};
use quorate::{AdminError, Consistency, GroupOptions, NodeId, Rejected, Role};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(
    a_learner_catches_up_and_has_no_vote,
    a_learner_is_promoted_and_then_counts_for_the_quorum,
    a_removed_node_counts_no_more_and_the_others_go_on,
    a_leader_may_remove_itself,
    a_leader_that_removed_itself_leaves_further_changes_to_the_next,
    a_dead_node_is_replaced_in_one_call,
    a_node_that_is_not_there_is_not_made_a_voter,
    a_change_may_be_repeated,
    changes_that_follow_each_other_closely_all_take_effect,
    a_change_that_lost_its_leader_half_way_is_ended_by_repeating_it,
    a_learner_in_the_way_of_a_replacement_leaves_too,
    the_last_voter_cannot_be_removed,
    a_new_node_that_is_far_behind_comes_by_a_snapshot,
    a_group_moves_to_other_nodes_one_by_one_under_writes,
);

/// Waits until `at` knows `expected` to be the voters, and nobody else.
async fn voters_are(cluster: &Cluster, at: NodeId, expected: BTreeSet<NodeId>) {
    let what = format!("{at} knows {expected:?} to be the voters");
    let known = || cluster.group(at).status().leadership.membership.voters;
    cluster.world.eventually(&what, || known() == [expected.clone()]).await;
}

fn ids<const N: usize>(nodes: [u64; N]) -> BTreeSet<NodeId> {
    nodes.map(NodeId).into()
}

async fn a_learner_catches_up_and_has_no_vote(world: World) {
    let cluster = world.cluster(3).await;
    for value in 0..50 {
        cluster.write(NodeId(1), Command::Push { value }, CALL).await.unwrap();
    }
    cluster.start(NodeId(4)).await;
    cluster.group(NodeId(2)).add_learner(NodeId(4), CALL).await.unwrap();
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..50).collect::<Vec<_>>());
    let known = || cluster.group(NodeId(4)).status().leadership;
    let learns = || known().role == Role::Learner && known().membership.learners == ids([4]);
    cluster.world.eventually("n4 knows itself to be a learner", learns).await;
    voters_are(&cluster, NodeId(4), ids([1, 2, 3])).await;
    // It answers reads of its own, and hands writes on.
    let read = cluster.read(NodeId(4), Consistency::LinearizableHere, 1, CALL).await.unwrap();
    assert_eq!(read.proof.served_by, NodeId(4));
    cluster.raise(NodeId(4), 1, 1).await;
    // With one voter left a learner does not make a quorum.
    let leader = cluster.leader().await;
    for node in cluster.others(leader).into_iter().filter(|node| *node != NodeId(4)) {
        cluster.stop(node).await;
    }
    let write = cluster.write(leader, Command::Push { value: 99 }, Duration::from_millis(500)).await;
    assert!(write.is_err(), "{write:?}");
}

async fn a_learner_is_promoted_and_then_counts_for_the_quorum(world: World) {
    let cluster = world.cluster(1).await;
    for node in [2, 3].map(NodeId) {
        cluster.start(node).await;
        cluster.group(NodeId(1)).add_voter(node, CALL).await.unwrap();
        voters_are(&cluster, NodeId(1), (1..=node.0).map(NodeId).collect()).await;
    }
    cluster.raise(NodeId(3), 1, 1).await;
    cluster.converge().await;
    cluster.stop(NodeId(1)).await;
    cluster.raise(NodeId(2), 1, 2).await;
    assert_eq!(cluster.read(NodeId(3), Consistency::Linearizable, 1, CALL).await.unwrap().answer, 2);
}

async fn a_removed_node_counts_no_more_and_the_others_go_on(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let [removed, other] = cluster.others(leader)[..] else { panic!("three nodes") };
    cluster.group(other).remove(removed, CALL).await.unwrap();
    voters_are(&cluster, leader, BTreeSet::from([leader, other])).await;
    cluster.stop(removed).await;
    cluster.raise(other, 1, 1).await;
    cluster.start(removed).await;
    // It comes back believing what it last heard, and disturbs nobody.
    for value in 2..20 {
        cluster.raise(leader, 1, value).await;
        world.sleep(Duration::from_millis(50)).await;
    }
    assert!(!world.is_virtual || cluster.leader_among(&[leader, other]).await == leader);
}

async fn a_leader_may_remove_itself(world: World) {
    let cluster = world.cluster(3).await;
    let old = cluster.leader().await;
    cluster.raise(old, 1, 1).await;
    cluster.group(old).remove(old, CALL).await.unwrap();
    let rest = cluster.others(old);
    let new = cluster.leader_among(&rest).await;
    voters_are(&cluster, new, rest.iter().copied().collect()).await;
    assert_eq!(cluster.read(new, Consistency::Linearizable, 1, CALL).await.unwrap().answer, 1);
    cluster.raise(rest[0], 1, 2).await;
}

async fn a_leader_that_removed_itself_leaves_further_changes_to_the_next(world: World) {
    let cluster = world.cluster(4).await;
    let old = cluster.leader().await;
    cluster.start(NodeId(5)).await;
    let handle = cluster.group(old);
    handle.remove(old, CALL).await.unwrap();
    // At once: it still leads, as far as it knows, and would stop if it proposed this.
    let asked = handle.add_learner(NodeId(5), Duration::from_millis(500)).await;
    assert!(matches!(asked, Ok(()) | Err(AdminError::Rejected(_))), "{asked:?}");
    assert_eq!(handle.status().leadership.stopped, None);
    let rest: Vec<_> = cluster.others(old).into_iter().filter(|node| *node != NodeId(5)).collect();
    let new = cluster.leader_among(&rest).await;
    cluster.group(new).add_learner(NodeId(5), CALL).await.unwrap();
    let learns = || cluster.group(new).status().leadership.membership.learners == ids([5]);
    cluster.world.eventually("n5 is a learner", learns).await;
}

async fn a_dead_node_is_replaced_in_one_call(world: World) {
    let cluster = world.cluster(3).await;
    for value in 0..20 {
        cluster.write(NodeId(1), Command::Push { value }, CALL).await.unwrap();
    }
    // Also when it was the leader.
    for (dead, new) in [(cluster.follower().await, NodeId(4)), (cluster.leader().await, NodeId(5))] {
        let dead = if cluster.running().contains(&dead) { dead } else { cluster.leader().await };
        cluster.stop(dead).await;
        cluster.start(new).await;
        let via = *cluster.others(new).first().unwrap();
        cluster.group(via).replace(dead, new, CALL).await.unwrap();
        let leader = cluster.leader().await;
        voters_are(&cluster, leader, cluster.running().into_iter().collect()).await;
    }
    let (_, list) = cluster.converge().await;
    assert_eq!(list, (0..20).collect::<Vec<_>>());
}

async fn a_change_may_be_repeated(world: World) {
    let cluster = world.cluster(3).await;
    cluster.start(NodeId(4)).await;
    let group = cluster.group(NodeId(1));
    for _ in 0..2 {
        group.add_learner(NodeId(4), CALL).await.unwrap();
    }
    for _ in 0..2 {
        group.add_voter(NodeId(4), CALL).await.unwrap();
    }
    group.add_learner(NodeId(4), CALL).await.unwrap();
    let leader = cluster.leader().await;
    voters_are(&cluster, leader, ids([1, 2, 3, 4])).await;
    for _ in 0..2 {
        group.replace(NodeId(4), NodeId(4), CALL).await.unwrap();
        group.replace(NodeId(9), NodeId(4), CALL).await.unwrap();
    }
    voters_are(&cluster, leader, ids([1, 2, 3, 4])).await;
    for _ in 0..2 {
        group.remove(NodeId(4), CALL).await.unwrap();
    }
    let leader = cluster.leader_among(&[1, 2, 3].map(NodeId)).await;
    voters_are(&cluster, leader, ids([1, 2, 3])).await;
    cluster.raise(leader, 1, 1).await;
}

async fn changes_that_follow_each_other_closely_all_take_effect(world: World) {
    let cluster = world.cluster(1).await;
    for node in (2..=5).map(NodeId) {
        cluster.start(node).await;
        cluster.group(NodeId(1)).add_learner(node, CALL).await.unwrap();
    }
    // At once, through different nodes: each is made on what the other has left.
    let groups: Vec<_> = (1..=4).map(|node| cluster.group(NodeId(node))).collect();
    let additions = groups.iter().zip(2..=5).map(|(group, node)| group.add_voter(NodeId(node), CALL));
    for result in futures::future::join_all(additions).await {
        result.unwrap();
    }
    let leader = cluster.leader().await;
    voters_are(&cluster, leader, ids([1, 2, 3, 4, 5])).await;
    for node in [4, 5].map(NodeId) {
        cluster.group(leader).remove(node, CALL).await.unwrap();
    }
    voters_are(&cluster, leader, ids([1, 2, 3])).await;
}

async fn a_change_that_lost_its_leader_half_way_is_ended_by_repeating_it(world: World) {
    let delays = [0, 1, 2, 5, 10, 20].map(Duration::from_millis);
    for delay in delays {
        let cluster = std::sync::Arc::new(world.cluster(3).await);
        let slow = LinkFaults::delayed(Duration::from_millis(3), Duration::from_millis(5));
        cluster.network.set_faults(Link::ALL, slow);
        let new = NodeId(4);
        cluster.start(new).await;
        let leader = cluster.leader_among(&[1, 2, 3].map(NodeId)).await;
        cluster.group(leader).add_learner(new, CALL).await.unwrap();
        let group = cluster.group(leader);
        let change = tokio::spawn(async move { group.add_voter(new, CALL).await });
        world.sleep(delay).await;
        cluster.stop(leader).await;
        let _ = change.await.unwrap();
        let via = cluster.others(new)[0];
        while let Err(error) = cluster.group(via).add_voter(new, CALL).await {
            eprintln!("again after {error}");
        }
        let leader = cluster.leader().await;
        voters_are(&cluster, leader, ids([1, 2, 3, 4])).await;
        cluster.raise(via, 1, 1).await;
    }
}

async fn a_learner_in_the_way_of_a_replacement_leaves_too(world: World) {
    let cluster = world.cluster(3).await;
    for node in [4, 5].map(NodeId) {
        cluster.start(node).await;
    }
    let group = cluster.group(NodeId(2));
    group.add_learner(NodeId(4), CALL).await.unwrap();
    group.replace(NodeId(4), NodeId(5), CALL).await.unwrap();
    let leader = cluster.leader_among(&[1, 2, 3, 5].map(NodeId)).await;
    voters_are(&cluster, leader, ids([1, 2, 3, 5])).await;
    world
        .eventually("no learner is left", || cluster.group(leader).status().leadership.membership.learners.is_empty())
        .await;
}

async fn the_last_voter_cannot_be_removed(world: World) {
    let cluster = world.cluster(1).await;
    let removal = cluster.group(NodeId(1)).remove(NodeId(1), CALL).await;
    assert!(matches!(removal, Err(quorate::AdminError::Rejected(Rejected::Invalid(_)))), "{removal:?}");
    cluster.raise(NodeId(1), 1, 1).await;
}

async fn a_new_node_that_is_far_behind_comes_by_a_snapshot(world: World) {
    let options = GroupOptions { snapshot_log_bytes: 50_000, snapshot_keep_entries: 8, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    for to in 0..100 {
        cluster.write(NodeId(1), Command::Fill { key: to, to, room: vec![0; 2000] }, CALL).await.unwrap();
    }
    let leader = cluster.leader().await;
    world.eventually("the log is purged", || cluster.group(leader).status().purged.is_some()).await;
    cluster.start(NodeId(4)).await;
    cluster.group(NodeId(2)).add_voter(NodeId(4), CALL).await.unwrap();
    let (values, _) = cluster.converge().await;
    assert!((0..100).all(|key| values.get(&key) == Some(&key)));
    let status = cluster.group(NodeId(4)).status();
    assert!(status.snapshot.is_some(), "{status:?}");
}

async fn a_group_moves_to_other_nodes_one_by_one_under_writes(world: World) {
    let cluster = std::sync::Arc::new(world.cluster(3).await);
    let writer = {
        let cluster = std::sync::Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for value in 0..150 {
                let via = *cluster.running().last().unwrap();
                // One that was handed to a leader which is then stopped gets no answer: it is not waited for long.
                if cluster.write(via, Command::Push { value }, Duration::from_secs(2)).await.is_ok() {
                    acknowledged.push(value);
                }
                cluster.world.sleep(Duration::from_millis(5)).await;
            }
            acknowledged
        })
    };
    for (old, new) in [(1, 4), (2, 5), (3, 6)].map(|(old, new)| (NodeId(old), NodeId(new))) {
        cluster.start(new).await;
        // A replica that has not heard of its group yet knows nobody to ask.
        cluster.group(cluster.running()[0]).add_learner(new, CALL).await.unwrap();
        cluster.group(new).replace(old, new, CALL).await.unwrap();
        world.sleep(Duration::from_millis(100)).await;
        cluster.stop(old).await;
    }
    let acknowledged = writer.await.unwrap();
    let leader = cluster.leader().await;
    voters_are(&cluster, leader, ids([4, 5, 6])).await;
    let (_, list) = cluster.converge().await;
    let kept: Vec<_> = list.iter().copied().filter(|value| acknowledged.contains(value)).collect();
    assert_eq!(kept, acknowledged);
}

async fn a_node_that_is_not_there_is_not_made_a_voter(world: World) {
    let cluster = world.cluster(3).await;
    let via = cluster.leader().await;
    let added = cluster.group(via).add_voter(NodeId(4), Duration::from_secs(1)).await;
    assert!(added.is_err(), "{added:?}");
    let membership = cluster.group(via).status().leadership.membership;
    assert!(!membership.is_voter(NodeId(4)), "its vote would be waited for: {membership}");
}
