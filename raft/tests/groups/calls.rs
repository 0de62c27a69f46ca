//! Any node takes any call.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use quorate::sessions::Stamp;
use quorate::transport::RequestKind;
use quorate::{AdminError, ClientId, Consistency, GroupOptions, NodeId, Rejected, WriteError};

use crate::common::{CALL, Command, Unreadable, World, claims};

claims!(
    a_write_through_any_node_is_handed_on_to_the_leader,
    a_call_is_handed_on_no_more_often_than_it_may,
    writes_of_one_batch_are_applied_in_order_each_with_its_reply,
    writes_that_come_together_share_an_entry_and_each_has_its_own_reply,
    a_command_that_the_machine_cannot_decode_changes_nothing_on_any_replica,
    what_is_in_flight_is_bounded_and_room_comes_back,
    a_larger_write_than_the_bound_is_let_in_alone,
    a_group_of_one_serves,
);

async fn a_write_through_any_node_is_handed_on_to_the_leader(world: World) {
    let cluster = world.cluster(3).await;
    for (value, node) in (1..).zip(cluster.running()) {
        let written = cluster.raise(node, 1, value).await;
        assert_eq!(written.reply, value);
        for reader in cluster.running() {
            let read = cluster.read(reader, Consistency::Linearizable, 1, CALL).await.unwrap();
            assert_eq!(read.answer, value, "asked of {reader} after a write through {node}");
            assert!(read.proof.linearizable && read.proof.applied >= Some(written.at.index), "{:?}", read.proof);
        }
    }
}

async fn a_call_is_handed_on_no_more_often_than_it_may(world: World) {
    let options = GroupOptions { hops_max: 0, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let before = cluster.network.traffic();
    let write = cluster.write(follower, Command::Push { value: 1 }, CALL).await;
    let named = Rejected::NotLeader { leader: Some(leader) };
    assert_eq!(write, Err(WriteError::Rejected(named.clone())));
    let read = cluster.read(follower, Consistency::Linearizable, 1, CALL).await;
    assert_eq!(read, Err(named.clone().into()));
    let change = cluster.group(follower).transfer_leadership(follower, CALL).await;
    assert_eq!(change, Err(AdminError::Rejected(named)));
    let sent = cluster.network.traffic().since(&before);
    for kind in [RequestKind::Write, RequestKind::Read, RequestKind::Admin] {
        assert_eq!(sent.of(kind).messages, 0, "{kind:?}");
    }
    cluster.raise(leader, 1, 1).await;
}

async fn writes_of_one_batch_are_applied_in_order_each_with_its_reply(world: World) {
    let cluster = world.cluster(3).await;
    let mut expected = Vec::new();
    for node in cluster.running() {
        let batch: Vec<_> = (0..100).map(|i| node.0 * 1000 + i).collect();
        let commands = batch.iter().map(|value| (None, Command::Push { value: *value }));
        let outcomes = cluster.group(node).write_many(commands, CALL).await.unwrap();
        let places: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().reply).collect();
        let first = expected.len() as u64 + 1;
        assert_eq!(places, (first..first + 100).collect::<Vec<_>>());
        expected.extend(batch);
    }
    assert_eq!(cluster.group(NodeId(1)).write_many([], CALL).await.unwrap().len(), 0);
    let (_, list) = cluster.converge().await;
    assert_eq!(list, expected);
}

async fn writes_that_come_together_share_an_entry_and_each_has_its_own_reply(world: World) {
    const WRITES: u64 = 200;
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    // On a busy machine the leader may lose its office meanwhile, and what was in flight is unknown: then once more.
    let mut written = Err(WriteError::Rejected(Rejected::NoLeader));
    for _ in 0..5 {
        let writes = (0..WRITES).map(|value| cluster.write(leader, Command::Push { value }, CALL));
        written = join_all(writes).await.into_iter().collect::<Result<Vec<_>, _>>();
        if written.is_ok() {
            break;
        }
    }
    let written = written.unwrap();
    let entries: BTreeSet<_> = written.iter().map(|written| written.at).collect();
    assert!(entries.len() < WRITES as usize, "every write had an entry of its own");
    let places: BTreeSet<_> = written.iter().map(|written| written.reply).collect();
    assert_eq!(places.len(), WRITES as usize);
    // The order of the entries is that of the replies.
    let mut in_order = written;
    in_order.sort_by_key(|written| written.reply);
    assert!(in_order.is_sorted_by_key(|written| written.at));
    let (_, list) = cluster.converge().await;
    assert!(list.len() >= WRITES as usize);
}

async fn a_command_that_the_machine_cannot_decode_changes_nothing_on_any_replica(world: World) {
    let cluster = world.cluster(3).await;
    let client = ClientId::new("c");
    cluster.group(NodeId(1)).open_session(client.clone(), CALL).await.unwrap();
    cluster.raise(NodeId(1), 1, 1).await;
    let before = cluster.converge().await;
    for node in cluster.running() {
        let bad = cluster.write(node, Command::Unreadable(Unreadable(7)), CALL).await;
        assert!(matches!(bad, Err(WriteError::Rejected(Rejected::Invalid(_)))), "{bad:?}");
    }
    // Nor does it use up a session's number.
    let stamp = Stamp { client, seq: 1, acked: None };
    let batch = [
        (Some(stamp.clone()), Command::Unreadable(Unreadable(7))),
        (Some(stamp), Command::Push { value: 5 }),
        (None, Command::Push { value: 6 }),
    ];
    let outcomes = cluster.group(NodeId(2)).write_many(batch, CALL).await.unwrap();
    assert!(matches!(outcomes[0], Err(WriteError::Rejected(Rejected::Invalid(_)))), "{outcomes:?}");
    assert!(outcomes[1].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let (mut values, list) = cluster.converge().await;
    values.insert(u64::MAX, before.0[&u64::MAX]);
    assert_eq!((values, list), (before.0, vec![5, 6]));
}

async fn what_is_in_flight_is_bounded_and_room_comes_back(world: World) {
    let options = GroupOptions { inflight_bytes_max: 10_000, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    let leader = cluster.leader().await;
    let fill = |to| Command::Fill { key: 1, to, room: vec![0; 6000] };
    for node in cluster.others(leader) {
        cluster.network.isolate(node);
    }
    // The first one waits for a quorum that does not come; the second finds no room.
    let short = Duration::from_secs(1);
    let (first, second) = futures::join!(cluster.write(leader, fill(1), short), cluster.write(leader, fill(2), short),);
    assert!(first.is_err() && first != Err(Rejected::Overloaded.into()), "{first:?}");
    assert_eq!(second, Err(Rejected::Overloaded.into()));
    cluster.calm().await;
    for to in 3..6 {
        let via = cluster.leader().await;
        cluster.write(via, fill(to), CALL).await.unwrap();
    }
}

async fn a_larger_write_than_the_bound_is_let_in_alone(world: World) {
    let options = GroupOptions { inflight_bytes_max: 100, ..World::options() };
    let cluster = world.cluster_with(3, options).await;
    let fill = Command::Fill { key: 1, to: 1, room: vec![0; 6000] };
    for node in cluster.running() {
        cluster.write(node, fill.clone(), CALL).await.unwrap();
    }
}

async fn a_group_of_one_serves(world: World) {
    let cluster = world.cluster(1).await;
    let only = NodeId(1);
    cluster.raise(only, 1, 1).await;
    for consistency in [
        Consistency::Linearizable,
        Consistency::LinearizableHere,
        Consistency::Lease,
        Consistency::Bounded(Duration::from_millis(1)),
        Consistency::Local,
    ] {
        assert_eq!(cluster.read(only, consistency, 1, CALL).await.unwrap().answer, 1, "{consistency:?}");
    }
    cluster.stop(only).await;
    cluster.start(only).await;
    cluster.leader().await;
    assert_eq!(cluster.read(only, Consistency::Linearizable, 1, CALL).await.unwrap().answer, 1);
}
