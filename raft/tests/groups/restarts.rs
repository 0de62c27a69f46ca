//! What was acknowledged is there after any number of restarts.

use std::collections::BTreeSet;

use quorate::{Consistency, GroupOptions, NodeId};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(
    restarting_all_nodes_keeps_every_acknowledged_write,
    nodes_restarted_one_by_one_under_writes_keep_every_acknowledged_write,
    a_group_is_made_once,
    a_restarted_leader_does_not_serve_on_its_old_lease,
);

async fn restarting_all_nodes_keeps_every_acknowledged_write(world: World) {
    let options = GroupOptions { snapshot_log_bytes: 4_000, snapshot_keep_entries: 8, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    let mut expected = Vec::new();
    for round in 0..4 {
        for i in 0..40 {
            let value = round * 100 + i;
            let via = world.pick(&cluster.running());
            cluster.write(via, Command::Push { value }, CALL).await.unwrap();
            expected.push(value);
        }
        let mut nodes = cluster.running();
        while !nodes.is_empty() {
            let node = nodes.remove(world.below(nodes.len() as u64) as usize);
            cluster.stop(node).await;
        }
        cluster.calm().await;
        let (_, list) = cluster.converge().await;
        assert_eq!(list, expected, "after restart {round}");
    }
}

async fn nodes_restarted_one_by_one_under_writes_keep_every_acknowledged_write(world: World) {
    let cluster = std::sync::Arc::new(world.cluster(3).await);
    let writer = {
        let cluster = std::sync::Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for value in 0..120 {
                cluster.world.sleep(std::time::Duration::from_millis(10)).await;
                let Some(group) = cluster.group_if_running(NodeId(1 + value % 3)) else { continue };
                let options = quorate::WriteOptions { session: None, timeout: CALL };
                if group.write(&Command::Push { value }, options).await.is_ok() {
                    acknowledged.push(value);
                }
            }
            acknowledged
        })
    };
    for node in [1, 2, 3, 1, 2, 3].map(NodeId) {
        world.sleep(std::time::Duration::from_millis(100)).await;
        cluster.stop(node).await;
        world.sleep(std::time::Duration::from_millis(50)).await;
        cluster.start(node).await;
        cluster.leader().await;
    }
    let acknowledged = writer.await.unwrap();
    let (_, list) = cluster.converge().await;
    let kept: Vec<_> = list.iter().copied().filter(|value| acknowledged.contains(value)).collect();
    assert_eq!(kept, acknowledged);
    assert!(acknowledged.len() > 30, "only {} were acknowledged", acknowledged.len());
}

async fn a_group_is_made_once(world: World) {
    let cluster = Cluster::new(&world, World::options());
    for node in [1, 2, 3].map(NodeId) {
        cluster.start(node).await;
    }
    let stranger = cluster.group(NodeId(1)).initialize(BTreeSet::from([NodeId(2), NodeId(3)])).await;
    assert!(stranger.is_err(), "a node made a group that it is not in");
    cluster.initialize().await;
    cluster.raise(NodeId(1), 1, 1).await;
    cluster.converge().await;
    for node in cluster.running() {
        assert!(cluster.group(node).initialize(BTreeSet::from([node])).await.is_err(), "{node} made it again");
    }
    cluster.stop(NodeId(2)).await;
    let again = cluster.start(NodeId(2)).await;
    assert!(again.initialize(BTreeSet::from([NodeId(2)])).await.is_err(), "made again in another life");
    assert_eq!(cluster.read(NodeId(2), Consistency::Linearizable, 1, CALL).await.unwrap().answer, 1);
}

async fn a_restarted_leader_does_not_serve_on_its_old_lease(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    cluster.raise(leader, 1, 1).await;
    cluster.stop(leader).await;
    cluster.network.isolate(leader);
    cluster.start(leader).await;
    let short = std::time::Duration::from_millis(100);
    for consistency in [Consistency::Lease, Consistency::Linearizable, Consistency::LinearizableHere] {
        assert!(cluster.read(leader, consistency, 1, short).await.is_err(), "{consistency:?}");
    }
    assert!(cluster.write(leader, Command::Push { value: 1 }, short).await.is_err());
}
