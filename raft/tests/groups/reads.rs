//! Reads that prove what they claim, on leaders and followers, in and out of touch.

use std::time::Duration;

use quorate::transport::{Link, LinkFaults};
use quorate::{Consistency, ReadError, Role};

use crate::common::{CALL, Command, Oracle, Seen, World, claims};

claims!(
    a_stale_leader_cannot_serve_a_linearizable_read,
    a_lease_read_needs_no_message_and_is_refused_once_the_leader_is_cut_off_for_longer_than_its_lease,
    a_follower_answers_at_its_own_replica_and_sees_every_acknowledged_write,
    a_follower_whose_applies_lag_waits_for_them,
    a_new_leader_reads_what_its_predecessor_acknowledged,
    a_new_leader_answers_no_read_before_it_has_applied_what_its_predecessor_acknowledged,
    a_voter_that_restarts_keeps_to_the_lease_that_it_acknowledged,
    a_local_read_promises_nothing_and_needs_nobody,
);

async fn a_stale_leader_cannot_serve_a_linearizable_read(world: World) {
    for strict in [Consistency::Linearizable, Consistency::LinearizableHere, Consistency::Lease] {
        let cluster = world.cluster(3).await;
        let old = cluster.leader().await;
        cluster.raise(old, 1, 1).await;
        let new = cluster.depose(old).await;
        let oracle = Oracle::default();
        for value in 2..12 {
            oracle.invoke(world.now(), value);
            cluster.raise(new, 1, value).await;
            oracle.acknowledge(world.now(), value);
            let began = world.now();
            let read = cluster.read(old, strict, 1, Duration::from_millis(100)).await;
            assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{strict:?}: {read:?}");
            // When it hears of the others again it answers as they do.
            if value == 11 {
                cluster.network.heal_all();
                let read = cluster.read(old, strict, 1, CALL).await.unwrap();
                let (made, ended) = (began, world.now());
                let linearizable = read.proof.linearizable;
                oracle.see(Seen { began, made, ended, value: read.answer, staleness: Duration::ZERO, linearizable });
                assert!(linearizable);
            }
        }
        oracle.check();
    }
}

async fn a_lease_read_needs_no_message_and_is_refused_once_the_leader_is_cut_off_for_longer_than_its_lease(
    world: World,
) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    cluster.raise(leader, 1, 1).await;
    if world.is_virtual {
        let before = cluster.network.traffic_of(leader);
        for _ in 0..100 {
            let read = cluster.read(leader, Consistency::Lease, 1, CALL).await.unwrap();
            assert_eq!((read.answer, read.proof.linearizable, read.proof.served_by), (1, true, leader));
        }
        assert_eq!(cluster.network.traffic_of(leader).since(&before).messages(), 0);
    }
    cluster.network.isolate(leader);
    let lease = cluster.options.election_timeout.1;
    world.sleep(lease + Duration::from_millis(10)).await;
    let read = cluster.read(leader, Consistency::Lease, 1, Duration::from_millis(50)).await;
    assert!(matches!(read, Err(ReadError::Rejected(_))), "{read:?}");
}

async fn a_follower_answers_at_its_own_replica_and_sees_every_acknowledged_write(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    for value in 1..=60 {
        cluster.raise(leader, 1, value).await;
        for node in cluster.running() {
            let read = cluster.read(node, Consistency::LinearizableHere, 1, CALL).await.unwrap();
            assert_eq!(read.answer, value, "{node} missed an acknowledged write");
            assert_eq!((read.proof.served_by, read.proof.linearizable), (node, true));
            assert!(!read.proof.redirected);
        }
    }
}

async fn a_follower_whose_applies_lag_waits_for_them(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let late = cluster.others(leader)[0];
    // Appends come late, questions and answers do not.
    let slow = LinkFaults::delayed(Duration::from_millis(80), Duration::from_millis(90));
    cluster.network.set_faults(Link::one(leader, late), slow);
    for value in 1..=5 {
        cluster.raise(leader, 1, value).await;
        let read = cluster.read(late, Consistency::LinearizableHere, 1, CALL).await.unwrap();
        assert_eq!((read.answer, read.proof.served_by), (value, late));
    }
}

async fn a_new_leader_reads_what_its_predecessor_acknowledged(world: World) {
    let cluster = world.cluster(3).await;
    for value in 1..=4 {
        let old = cluster.leader().await;
        cluster.raise(old, 1, value).await;
        cluster.stop(old).await;
        let nodes = cluster.running();
        let via = world.pick(&nodes);
        let read = cluster.read(via, Consistency::Linearizable, 1, CALL).await.unwrap();
        assert_eq!(read.answer, value);
        let read = cluster.read(via, Consistency::LinearizableHere, 1, CALL).await.unwrap();
        assert_eq!(read.answer, value);
        cluster.start(old).await;
    }
}

async fn a_new_leader_answers_no_read_before_it_has_applied_what_its_predecessor_acknowledged(world: World) {
    let slow = LinkFaults::delayed(Duration::from_millis(20), Duration::from_millis(20));
    for value in 1..=2 {
        let cluster = world.cluster(3).await;
        let old = cluster.leader().await;
        let [heir, laggard] = cluster.others(old)[..] else { panic!("there are three nodes") };
        cluster.network.cut(Link::one(old, laggard));
        cluster.network.cut(Link::one(laggard, old));
        for nth in 1..=5 {
            cluster.raise(old, 2, nth).await;
        }
        // The heir has the write, and is cut off before it hears that the write is committed.
        cluster.network.set_faults(Link::one(old, heir), slow);
        cluster.raise(old, 1, value).await;
        cluster.network.isolate(old);
        cluster.network.set_faults(Link::ALL, slow);
        let group = cluster.group(heir);
        world.eventually("the heir leads", || group.status().leadership.role == Role::Leader).await;
        // The laggard lacks a good deal: it confirms the leader sooner than it can acknowledge anything new.
        let read = cluster.read(heir, Consistency::Linearizable, 1, CALL).await.unwrap();
        assert_eq!((read.answer, read.proof.served_by), (value, heir));
    }
}

async fn a_voter_that_restarts_keeps_to_the_lease_that_it_acknowledged(world: World) {
    for value in 2..6 {
        let cluster = world.cluster(3).await;
        let old = cluster.leader().await;
        let [voter, candidate] = cluster.others(old)[..] else { panic!("there are three nodes") };
        cluster.raise(old, 1, 1).await;
        // The candidate hears nothing of the leader any more; the voter does, and so refuses its vote.
        cluster.network.cut(Link::one(old, candidate));
        cluster.network.cut(Link::one(candidate, old));
        world.sleep(Duration::from_millis(300 + 7 * value)).await;
        cluster.stop(voter).await;
        cluster.network.isolate(old);
        cluster.start(voter).await;
        let new = cluster.leader_among(&[voter, candidate]).await;
        cluster.raise(new, 1, value).await;
        if let Ok(read) = cluster.read(old, Consistency::Lease, 1, Duration::from_millis(1)).await {
            assert_eq!(read.answer, value, "the lease outlived the leadership");
        }
    }
}

async fn a_local_read_promises_nothing_and_needs_nobody(world: World) {
    let cluster = world.cluster(3).await;
    let follower = cluster.follower().await;
    cluster.raise(follower, 1, 1).await;
    cluster.converge().await;
    cluster.network.isolate(follower);
    world.sleep(Duration::from_secs(1)).await;
    let read = cluster.read(follower, Consistency::Local, 1, CALL).await.unwrap();
    assert_eq!((read.answer, read.proof.linearizable, read.proof.staleness), (1, false, None));
    let write = cluster.write(follower, Command::Push { value: 1 }, Duration::from_millis(50)).await;
    assert!(write.is_err());
}
