//! Looks at the machine itself: with a read's proofs, and never on another node.

use std::time::Duration;

use quorate::{Consistency, NodeId, ReadError, ReadReply, Rejected};

use crate::common::{CALL, Cluster, World, claims};

claims!(
    a_look_at_the_leaders_machine_sees_every_acknowledged_write_and_is_refused_elsewhere_with_a_hint,
    a_look_is_never_handed_on_and_costs_the_leader_nothing_by_its_lease,
    a_look_at_a_followers_machine_waits_for_what_was_acknowledged,
    a_bounded_look_says_how_old_it_is_and_is_refused_when_the_replica_cannot_prove_it,
    a_deposed_leaders_machine_is_not_shown_as_the_newest,
    a_machine_that_was_looked_at_is_what_queries_answer_from,
);

const MS: Duration = Duration::from_millis(1);

async fn look(
    cluster: &Cluster,
    at: NodeId,
    consistency: Consistency,
    timeout: Duration,
) -> Result<ReadReply<u64>, ReadError> {
    cluster.group(at).with_state(consistency, timeout, |register| register.value(1)).await
}

async fn a_look_at_the_leaders_machine_sees_every_acknowledged_write_and_is_refused_elsewhere_with_a_hint(
    world: World,
) {
    let cluster = world.cluster(3).await;
    for value in 1..=10 {
        let leader = cluster.leader().await;
        cluster.raise(leader, 1, value).await;
        for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::Bounded(50 * MS)] {
            let seen = look(&cluster, leader, consistency, CALL).await.unwrap();
            assert_eq!((seen.answer, seen.proof.served_by, seen.proof.linearizable), (value, leader, true));
            assert_eq!((seen.proof.staleness, seen.proof.redirected), (Some(Duration::ZERO), false));
        }
        for follower in cluster.others(leader) {
            for consistency in [Consistency::Linearizable, Consistency::Lease] {
                let refused = look(&cluster, follower, consistency, CALL).await.map(|seen| seen.answer);
                let hint = Err(Rejected::NotLeader { leader: Some(leader) }.into());
                // A busy machine may elect another leader meanwhile.
                assert!(refused == hint || !world.is_virtual, "{refused:?}");
            }
        }
    }
}

async fn a_look_is_never_handed_on_and_costs_the_leader_nothing_by_its_lease(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.raise(leader, 1, 1).await;
    cluster.converge().await;
    let before = cluster.network.traffic();
    for _ in 0..50 {
        assert_eq!(look(&cluster, leader, Consistency::Lease, CALL).await.unwrap().answer, 1);
        assert!(look(&cluster, follower, Consistency::Lease, CALL).await.is_err());
        let seen = look(&cluster, follower, Consistency::Local, CALL).await.unwrap();
        assert_eq!((seen.answer, seen.proof.linearizable, seen.proof.staleness), (1, false, None));
    }
    let sent = cluster.network.traffic().since(&before);
    assert!(!world.is_virtual || sent.messages() == 0, "{sent:?}");
    assert_eq!(sent.of(quorate::transport::RequestKind::Read).messages, 0);
}

async fn a_look_at_a_followers_machine_waits_for_what_was_acknowledged(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    for value in 1..=30 {
        cluster.raise(leader, 1, value).await;
        for node in cluster.running() {
            // Nothing but a linearizable state is surely of age zero.
            let consistency = world.pick(&[Consistency::LinearizableHere, Consistency::Bounded(Duration::ZERO)]);
            let seen = look(&cluster, node, consistency, CALL).await.unwrap();
            assert_eq!((seen.answer, seen.proof.served_by, seen.proof.linearizable), (value, node, true));
            assert!(seen.proof.applied.is_some());
        }
    }
}

async fn a_bounded_look_says_how_old_it_is_and_is_refused_when_the_replica_cannot_prove_it(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.raise(leader, 1, 1).await;
    let bound = Duration::from_secs(2);
    let seen = look(&cluster, follower, Consistency::Bounded(bound), CALL).await.unwrap();
    assert_eq!((seen.answer, seen.proof.served_by, seen.proof.redirected), (1, follower, false));
    let proven = world.now() - seen.proof.staleness.expect("a bounded look says how old it is");
    cluster.network.isolate(follower);
    cluster.raise(leader, 1, 2).await;
    loop {
        let seen = look(&cluster, follower, Consistency::Bounded(bound), 100 * MS).await;
        let age = world.now().since(proven);
        match seen {
            Ok(seen) => {
                assert_eq!(seen.answer, 1);
                assert!(seen.proof.staleness.is_some_and(|staleness| staleness <= bound), "{:?}", seen.proof);
            }
            Err(error) => {
                assert!(matches!(error, ReadError::Rejected(Rejected::Consistency(_))), "{error}");
                assert!(age > bound / 2, "refused at {age:?}");
            }
        }
        if age > bound {
            break;
        }
        world.sleep(20 * MS).await;
    }
    let refused = look(&cluster, follower, Consistency::Bounded(bound), 100 * MS).await;
    assert!(matches!(refused, Err(ReadError::Rejected(Rejected::Consistency(_)))), "{refused:?}");
    cluster.network.heal_all();
    world.sleep(500 * MS).await;
    let seen = look(&cluster, follower, Consistency::Bounded(bound), CALL).await.unwrap();
    assert_eq!((seen.answer, seen.proof.served_by), (2, follower));
}

async fn a_deposed_leaders_machine_is_not_shown_as_the_newest(world: World) {
    let cluster = world.cluster(3).await;
    let old = cluster.leader().await;
    cluster.raise(old, 1, 1).await;
    let new = cluster.depose(old).await;
    cluster.raise(new, 1, 2).await;
    for consistency in [Consistency::Linearizable, Consistency::Lease, Consistency::LinearizableHere] {
        let refused = look(&cluster, old, consistency, 100 * MS).await;
        assert!(matches!(refused, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{refused:?}");
    }
    assert_eq!(look(&cluster, old, Consistency::Local, CALL).await.unwrap().answer, 1);
    let old_group = cluster.group(old);
    cluster.stop(old).await;
    let stopped = old_group.with_state(Consistency::Local, CALL, |register| register.value(1)).await;
    assert!(matches!(stopped, Err(ReadError::Fatal(_))), "{stopped:?}");
}

async fn a_machine_that_was_looked_at_is_what_queries_answer_from(world: World) {
    let cluster = world.cluster(3).await;
    for value in 1..=5 {
        let via = world.pick(&cluster.running());
        cluster.raise(via, 1, value).await;
        let here = look(&cluster, via, Consistency::LinearizableHere, CALL).await.unwrap();
        let asked = cluster.read(via, Consistency::LinearizableHere, 1, CALL).await.unwrap();
        assert_eq!(here.answer, asked.answer);
        assert!(here.proof.applied <= asked.proof.applied);
    }
}
