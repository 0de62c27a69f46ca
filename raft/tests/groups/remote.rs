//! A node without a replica speaks to a group through the nodes that have one.

use std::sync::Arc;
use std::time::Duration;

use quorate::{
    ClusterId, Consistency, Host, HostConfig, NodeId, Rejected, RemoteGroup, Role, WriteError, WriteOptions,
};

use crate::common::{Answer, CALL, Cluster, Command, GROUP, Query, Register, World, claims};

claims!(
    a_node_without_a_replica_writes_and_reads_through_the_others_also_when_their_leader_changes,
    a_group_that_nobody_hosts_or_nobody_reaches_is_a_refusal,
    a_silent_node_is_passed_over_by_reads_and_leaves_a_write_unknown,
);

const STRANGER: NodeId = NodeId(77);

fn remote(cluster: &Cluster, nodes: &[NodeId]) -> (Arc<Host>, RemoteGroup<Register>) {
    let config = HostConfig { node: STRANGER, cluster: ClusterId(1) };
    let host = Host::new(config, Arc::clone(&cluster.world.env), cluster.network.transport(STRANGER));
    cluster.network.register(STRANGER, &host);
    let group = host.remote(GROUP, nodes.iter().copied().collect());
    (host, group)
}

async fn read(group: &RemoteGroup<Register>, consistency: Consistency, nth: Option<usize>) -> (u64, NodeId) {
    let reply = group.read(consistency, &Query::Value(1), CALL, nth).await.unwrap();
    match reply.answer {
        Answer::Value(value) => (value, reply.proof.served_by),
        other => panic!("{other:?}"),
    }
}

fn raise(to: u64) -> Command {
    Command::Raise { key: 1, to }
}

async fn a_node_without_a_replica_writes_and_reads_through_the_others_also_when_their_leader_changes(world: World) {
    let cluster = world.cluster(3).await;
    let nodes = cluster.running();
    let (_host, group) = remote(&cluster, &nodes);
    let options = || WriteOptions { session: None, timeout: CALL };
    for value in 1..=5 {
        let written = group.write(&raise(value), options()).await.unwrap();
        assert_eq!(read(&group, Consistency::Linearizable, None).await.0, value);
        // Each node answers for its own replica when it is asked for that.
        for (nth, node) in nodes.iter().enumerate() {
            assert_eq!(read(&group, Consistency::LinearizableHere, Some(nth)).await, (value, *node));
        }
        assert!(group.wait_applied(Some(written.at.index), Duration::from_millis(1)).await >= Some(written.at.index));
        let leader = cluster.leader().await;
        assert_eq!(group.describe(leader, CALL).await.unwrap().role, Role::Leader);
        if value == 3 {
            cluster.stop(leader).await;
            cluster.leader_among(&cluster.running()).await;
            cluster.start(leader).await;
        }
    }
}

async fn a_group_that_nobody_hosts_or_nobody_reaches_is_a_refusal(world: World) {
    let cluster = world.cluster(1).await;
    let timeout = Duration::from_millis(200);
    let options = || WriteOptions { session: None, timeout };
    let (host, _) = remote(&cluster, &[NodeId(1)]);
    let other: RemoteGroup<Register> = host.remote(quorate::GroupId(4711), [NodeId(1)].into());
    let error = other.write(&raise(1), options()).await.unwrap_err();
    assert!(matches!(error, WriteError::Rejected(Rejected::NoSuchGroup(_))), "{error:?}");
    let nowhere: RemoteGroup<Register> = host.remote(GROUP, [NodeId(50), NodeId(51)].into());
    let error = nowhere.write(&raise(1), options()).await.unwrap_err();
    assert!(matches!(error, WriteError::Rejected(_)), "nothing was delivered: {error:?}");
    let nobody: RemoteGroup<Register> = host.remote(GROUP, [].into());
    assert!(matches!(nobody.write(&raise(1), options()).await, Err(WriteError::Rejected(Rejected::NoLeader))));
}

async fn a_silent_node_is_passed_over_by_reads_and_leaves_a_write_unknown(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let (_host, group) = remote(&cluster, &cluster.running());
    group.write(&raise(1), WriteOptions { session: None, timeout: CALL }).await.unwrap();
    cluster.network.pause(leader);
    let write = group.write(&raise(2), WriteOptions { session: None, timeout: Duration::from_millis(100) }).await;
    assert!(matches!(write, Err(WriteError::Unknown(_))), "the leader was asked and may yet act: {write:?}");
    let (value, served_by) = read(&group, Consistency::Linearizable, None).await;
    assert!((1..=2).contains(&value) && served_by != leader);
    cluster.network.resume(leader);
}
