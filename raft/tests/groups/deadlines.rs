//! Every call ends, by its deadline, with an error that says whether it can have happened.

use std::future::Future;
use std::time::Duration;

use quorate::{AdminError, ClientId, Consistency, NodeId, ReadError, Rejected, Unknown, WriteError};

use crate::common::{CALL, Command, World, claims};

claims!(
    a_write_that_an_isolated_leader_accepted_ends_unknown_and_one_that_it_did_not_accept_ends_rejected,
    every_call_on_an_isolated_leader_ends_by_its_deadline,
    every_call_without_a_quorum_ends_by_its_deadline,
    every_call_on_a_node_that_never_had_a_leader_is_rejected_by_its_deadline,
    a_stopped_group_answers_stopped_at_once,
    calls_under_way_end_when_their_group_is_stopped,
);

const SHORT: Duration = Duration::from_millis(700);

const CONSISTENCIES: [Consistency; 4] = [
    Consistency::Linearizable,
    Consistency::LinearizableHere,
    Consistency::Lease,
    Consistency::Bounded(Duration::from_millis(50)),
];

/// What the call gave; it must have ended by its deadline.
async fn timed<T>(world: &World, call: impl Future<Output = T>) -> T {
    let began = world.now();
    let result = call.await;
    let took = world.now().since(began);
    assert!(took <= SHORT + world.slack(), "a call with {SHORT:?} took {took:?}");
    result
}

async fn a_write_that_an_isolated_leader_accepted_ends_unknown_and_one_that_it_did_not_accept_ends_rejected(
    world: World,
) {
    let cluster = world.cluster(3).await;
    let old = cluster.leader().await;
    cluster.raise(old, 1, 1).await;
    cluster.network.isolate(old);
    let accepted = timed(&world, cluster.write(old, Command::Push { value: 1 }, SHORT)).await;
    match accepted {
        Err(WriteError::Unknown(Unknown::Deadline(timeout))) => assert_eq!(timeout, SHORT),
        // On a machine so slow that the lease ran out before the write came.
        Err(WriteError::Rejected(_)) if !world.is_virtual => {}
        other => panic!("{other:?}"),
    }
    let refused = timed(&world, cluster.write(old, Command::Push { value: 2 }, SHORT)).await;
    assert!(matches!(refused, Err(WriteError::Rejected(_))), "{refused:?}");
    let group = cluster.group(old);
    let refused = timed(&world, group.open_session(ClientId::new("late"), SHORT)).await;
    assert!(matches!(refused, Err(WriteError::Rejected(_))), "{refused:?}");
    let new = cluster.leader_among(&cluster.others(old)).await;
    cluster.raise(new, 1, 2).await;
    cluster.calm().await;
    let (_, list) = cluster.converge().await;
    assert!(!list.contains(&2), "a rejected write happened");
}

async fn every_call_on_an_isolated_leader_ends_by_its_deadline(world: World) {
    let cluster = world.cluster(3).await;
    let old = cluster.leader().await;
    cluster.raise(old, 1, 1).await;
    cluster.depose(old).await;
    let other = cluster.others(old)[0];
    for consistency in CONSISTENCIES {
        let read = timed(&world, cluster.read(old, consistency, 1, SHORT)).await;
        assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{consistency:?}: {read:?}");
    }
    let group = cluster.group(old);
    let transfer = timed(&world, group.transfer_leadership(other, SHORT)).await;
    assert!(matches!(transfer, Err(AdminError::Rejected(_))), "{transfer:?}");
    for change in [
        timed(&world, group.add_learner(NodeId(9), SHORT)).await,
        timed(&world, group.add_voter(NodeId(9), SHORT)).await,
        timed(&world, group.remove(other, SHORT)).await,
        timed(&world, group.replace(other, NodeId(9), SHORT)).await,
    ] {
        assert!(matches!(change, Err(AdminError::Rejected(_) | AdminError::Unknown(_))), "{change:?}");
    }
    // What a replica has, it can still snapshot and show.
    timed(&world, group.snapshot(SHORT)).await.unwrap();
    let local = timed(&world, cluster.read(old, Consistency::Local, 1, SHORT)).await.unwrap();
    assert_eq!((local.answer, local.proof.staleness, local.proof.linearizable), (1, None, false));
}

async fn every_call_without_a_quorum_ends_by_its_deadline(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    cluster.raise(leader, 1, 1).await;
    for node in cluster.others(leader) {
        cluster.stop(node).await;
    }
    for consistency in CONSISTENCIES {
        // A lease may run for a moment yet.
        if consistency == Consistency::Lease {
            world.sleep(Duration::from_millis(400)).await;
        }
        let read = timed(&world, cluster.read(leader, consistency, 1, SHORT)).await;
        assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{consistency:?}: {read:?}");
    }
    let write = timed(&world, cluster.write(leader, Command::Push { value: 1 }, SHORT)).await;
    assert!(matches!(write, Err(WriteError::Rejected(_))), "{write:?}");
    let removal = timed(&world, cluster.group(leader).remove(NodeId(2), SHORT)).await;
    assert!(removal.is_err());
    cluster.calm().await;
    let (_, list) = cluster.converge().await;
    assert!(list.is_empty(), "a rejected write happened");
}

async fn every_call_on_a_node_that_never_had_a_leader_is_rejected_by_its_deadline(world: World) {
    let cluster = crate::common::Cluster::new(&world, World::options());
    let group = cluster.start(NodeId(1)).await;
    let write = timed(&world, cluster.write(NodeId(1), Command::Push { value: 1 }, SHORT)).await;
    assert_eq!(write, Err(Rejected::NoLeader.into()));
    for consistency in CONSISTENCIES {
        let read = timed(&world, cluster.read(NodeId(1), consistency, 1, SHORT)).await;
        assert_eq!(read, Err(Rejected::NoLeader.into()), "{consistency:?}");
    }
    let change = timed(&world, group.add_learner(NodeId(2), SHORT)).await;
    assert_eq!(change, Err(Rejected::NoLeader.into()));
}

async fn a_stopped_group_answers_stopped_at_once(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    for node in [cluster.others(leader)[0], leader] {
        let group = cluster.group(node);
        cluster.host(node).shutdown().await;
        let other = cluster.others(node)[0];
        let began = world.now();
        let write = cluster.write(node, Command::Push { value: 1 }, CALL).await;
        assert!(matches!(write, Err(WriteError::Rejected(Rejected::Stopped))), "{write:?}");
        for consistency in CONSISTENCIES.into_iter().chain([Consistency::Local]) {
            let read = cluster.read(node, consistency, 1, CALL).await;
            let stopped = matches!(read, Err(ReadError::Rejected(Rejected::Stopped) | ReadError::Fatal(_)));
            assert!(stopped, "{consistency:?}: {read:?}");
        }
        for change in [
            group.transfer_leadership(other, CALL).await,
            group.add_learner(NodeId(9), CALL).await,
            group.remove(other, CALL).await,
        ] {
            assert_eq!(change, Err(Rejected::Stopped.into()));
        }
        let snapshot = group.snapshot(CALL).await;
        assert!(matches!(snapshot, Err(AdminError::Fatal(_) | AdminError::Rejected(_))), "{snapshot:?}");
        let again = group.initialize([node].into()).await;
        assert!(again.is_err());
        // Stopping twice is the same as once.
        group.shutdown().await;
        assert!(world.now().since(began) < Duration::from_secs(1) + world.slack(), "it took its time");
    }
}

async fn calls_under_way_end_when_their_group_is_stopped(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    cluster.raise(leader, 1, 1).await;
    for node in cluster.others(leader) {
        cluster.network.isolate(node);
    }
    let (write, read) = (cluster.group(leader), cluster.group(leader));
    let write = tokio::spawn(async move {
        let options = quorate::WriteOptions { session: None, timeout: CALL };
        write.write(&Command::Push { value: 1 }, options).await
    });
    let read =
        tokio::spawn(async move { read.read(Consistency::Linearizable, &crate::common::Query::Value(1), CALL).await });
    world.sleep(Duration::from_millis(50)).await;
    let began = world.now();
    cluster.host(leader).shutdown().await;
    let write = write.await.unwrap();
    assert!(write.is_err(), "{write:?}");
    let unknown = matches!(write, Err(WriteError::Unknown(_)));
    assert!(unknown || !world.is_virtual, "{write:?}");
    let read = read.await.unwrap();
    assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Fatal(_))), "{read:?}");
    assert!(world.now().since(began) < Duration::from_secs(1) + world.slack(), "they took their time");
}
