//! Leadership handed over: it arrives, or the group keeps serving.

use std::time::Duration;

use quorate::transport::Link;
use quorate::{AdminError, NodeId, Rejected};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(
    leadership_is_with_its_target_when_the_transfer_says_so,
    a_transfer_to_the_leader_itself_changes_nothing,
    a_transfer_to_a_non_voter_a_stranger_or_a_silent_node_is_refused_and_the_group_keeps_serving,
    a_transfer_to_a_node_that_falls_silent_leaves_a_group_that_serves,
    writes_go_on_while_leadership_goes_round,
);

/// The group serves through every node that runs.
async fn serves(cluster: &Cluster) {
    for node in cluster.running() {
        cluster.write(node, Command::Add { key: 1, amount: 1 }, CALL).await.unwrap();
    }
}

async fn leadership_is_with_its_target_when_the_transfer_says_so(world: World) {
    let cluster = world.cluster(3).await;
    for (via, to) in [(1, 2), (1, 3), (2, 1), (3, 2), (3, 3), (2, 3)].map(|(via, to)| (NodeId(via), NodeId(to))) {
        // A follower that was paused by a busy machine may be refused as silent for the moment.
        let mut tries = 0;
        while let Err(error) = cluster.group(via).transfer_leadership(to, CALL).await {
            tries += 1;
            assert!(!world.is_virtual && tries < 50, "{error:?}");
            world.sleep(Duration::from_millis(100)).await;
        }
        let leader = cluster.leader().await;
        assert!(leader == to || !world.is_virtual, "{leader} leads instead of {to}");
        serves(&cluster).await;
    }
}

async fn a_transfer_to_the_leader_itself_changes_nothing(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let before = cluster.group(leader).status().leadership;
    cluster.group(leader).transfer_leadership(leader, CALL).await.unwrap();
    assert!(!world.is_virtual || cluster.group(leader).status().leadership == before);
    serves(&cluster).await;
}

async fn a_transfer_to_a_non_voter_a_stranger_or_a_silent_node_is_refused_and_the_group_keeps_serving(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let silent = cluster.others(leader)[0];
    let learner = NodeId(4);
    cluster.start(learner).await;
    cluster.group(leader).add_learner(learner, CALL).await.unwrap();
    cluster.stop(silent).await;
    world.sleep(Duration::from_millis(500)).await;
    for target in [learner, NodeId(99), silent] {
        for via in cluster.others(learner) {
            let refused = cluster.group(via).transfer_leadership(target, Duration::from_secs(5)).await;
            assert!(matches!(refused, Err(AdminError::Rejected(Rejected::Invalid(_)))), "{target}: {refused:?}");
        }
        serves(&cluster).await;
    }
}

async fn a_transfer_to_a_node_that_falls_silent_leaves_a_group_that_serves(world: World) {
    for silence in [Link::into as fn(NodeId) -> Link, Link::out_of] {
        let cluster = world.cluster(3).await;
        let leader = cluster.leader().await;
        let target = cluster.others(leader)[0];
        // Cut off just now: the leader cannot know.
        cluster.network.cut(silence(target));
        let transfer = cluster.group(leader).transfer_leadership(target, Duration::from_secs(5)).await;
        assert!(transfer.is_err(), "{transfer:?}");
        let alive = cluster.others(target);
        let began = world.now();
        for node in &alive {
            cluster.write(*node, Command::Add { key: 1, amount: 1 }, CALL).await.unwrap();
        }
        let gap = world.now().since(began);
        assert!(!world.is_virtual || gap < Duration::from_secs(2), "writes stood still for {gap:?}");
        cluster.calm().await;
        serves(&cluster).await;
    }
}

async fn writes_go_on_while_leadership_goes_round(world: World) {
    let cluster = std::sync::Arc::new(world.cluster(3).await);
    let writer = {
        let cluster = std::sync::Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut done = 0;
            for value in 0..100 {
                let via = NodeId(1 + value % 3);
                if cluster.write(via, Command::Push { value }, CALL).await.is_ok() {
                    done += 1;
                }
                cluster.world.sleep(Duration::from_millis(5)).await;
            }
            done
        })
    };
    let mut arrived = 0;
    while !writer.is_finished() {
        let to = world.pick(&cluster.running());
        arrived += u32::from(cluster.group(NodeId(1)).transfer_leadership(to, CALL).await.is_ok());
        world.sleep(Duration::from_millis(30)).await;
    }
    let done = writer.await.unwrap();
    assert!(arrived > 0 && done > 50, "{arrived} transfers, {done} writes");
    let (_, list) = cluster.converge().await;
    assert!(list.len() >= done);
}
