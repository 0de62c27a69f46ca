//! Groups at work, and nodes that come and go.

use quorate::{GroupId, NodeId};

use crate::common::{Cluster, GROUP, Setting, eventually};
use crate::machine::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_groups_share_one_connection_to_each_peer() {
    let groups: Vec<_> = (1..=20).map(GroupId).collect();
    let cluster = Cluster::start(3, Setting::of_groups(&groups)).await;
    for (value, group) in (1..).zip(&groups) {
        for via in cluster.running() {
            cluster.write(via, *group, Command::Add { key: 1, amount: value }).await;
        }
    }
    for (value, group) in (1..).zip(&groups) {
        assert_eq!(cluster.value(NodeId(1 + value % 3), *group, 1).await, 3 * value);
    }
    cluster.connected().await;
    for node in cluster.running() {
        let life = cluster.life(node);
        let status = life.server.status();
        assert_eq!((status.connections, status.streams, status.refused), (2, 4, 0), "{node} accepted");
        for (peer, status) in life.transport.peers() {
            assert_eq!(status.connections, 1, "{node} connected to {peer}: {status:?}");
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_found_again_on_its_port() {
    let mut cluster = Cluster::start(3, Setting::default()).await;
    let mut acknowledged = 0;
    for round in 1..=2 {
        let old = cluster.leader().await;
        cluster.write(old, GROUP, Command::Raise { key: 1, to: round * 10 }).await;
        cluster.stop_node(old).await;
        let new = cluster.leader().await;
        assert_ne!(new, old);
        for via in cluster.running() {
            acknowledged += 1;
            cluster.write(via, GROUP, Command::Push { value: acknowledged }).await;
        }
        cluster.start_node(old).await;
        let written = cluster.write(old, GROUP, Command::Raise { key: 1, to: round * 10 + 1 }).await;
        assert_eq!(cluster.value(old, GROUP, 1).await, round * 10 + 1);
        for node in cluster.running() {
            let group = cluster.group(node);
            eventually("all have applied it", || group.applied() >= Some(written.at.index)).await;
        }
        cluster.connected().await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_moves_is_added_again_with_its_new_address() {
    let mut cluster = Cluster::start(3, Setting::default()).await;
    let moved = cluster.followers().await[0];
    cluster.stop_node(moved).await;
    cluster.forget_address(moved);
    cluster.start_node(moved).await;
    cluster.connected().await;
    cluster.write(moved, GROUP, Command::Push { value: 1 }).await;
    // One that is removed is not called any more.
    let leader = cluster.leader().await;
    let transport = &cluster.life(leader).transport;
    transport.remove_peer(moved);
    assert!(!transport.peers().contains_key(&moved));
    let server = &cluster.life(moved).server;
    eventually("the connection is closed", || server.status().streams == 2).await;
    cluster.shutdown().await;
}
