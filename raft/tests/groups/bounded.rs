//! Bounded reads: never older than they say, and never out of bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::transport::{Link, LinkFaults, RequestKind};
use quorate::{Consistency, NodeId, ReadError};

use crate::common::{CALL, Cluster, Command, Oracle, Query, Seen, World, claims};
use crate::faults::Nemesis;

claims!(
    a_bounded_read_is_never_older_than_it_claims_whatever_goes_wrong,
    a_bound_of_zero_is_answered_by_the_leader,
    a_follower_that_is_cut_off_never_answers_beyond_its_bound,
    a_follower_whose_questions_do_not_reach_the_leader_is_cut_off_however_well_it_hears,
    one_probe_serves_all_who_read_at_once,
    nobody_probes_while_nobody_reads,
    readers_who_keep_coming_are_answered_by_their_replica,
);

const MS: Duration = Duration::from_millis(1);

async fn a_bounded_read_is_never_older_than_it_claims_whatever_goes_wrong(world: World) {
    let cluster = Arc::new(world.cluster(3).await);
    let oracle = Oracle::default();
    let nemesis = Nemesis::start(&cluster);
    let done = Arc::<AtomicBool>::default();
    let mut tasks = vec![tokio::spawn(keep_writing(Arc::clone(&cluster), oracle.clone(), Arc::clone(&done)))];
    for node in [1, 2, 3].map(NodeId) {
        for _ in 0..2 {
            tasks.push(tokio::spawn(keep_reading(Arc::clone(&cluster), node, oracle.clone(), Arc::clone(&done))));
        }
    }
    world.sleep(Duration::from_secs(6)).await;
    nemesis.end(&cluster).await;
    world.sleep(Duration::from_millis(500)).await;
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    oracle.check();
    let (writes, reads) = oracle.counts();
    assert!(writes > 20 && reads > 100, "only {writes} writes and {reads} reads");
}

async fn keep_writing(cluster: Arc<Cluster>, oracle: Oracle, done: Arc<AtomicBool>) {
    let world = cluster.world.fork();
    for value in 1.. {
        if done.load(Ordering::Relaxed) {
            return;
        }
        let Some(group) = cluster.group_if_running(NodeId(1 + world.below(3))) else { continue };
        oracle.invoke(world.now(), value);
        let options = quorate::WriteOptions { session: None, timeout: 300 * MS };
        if group.write(&Command::Raise { key: 1, to: value }, options).await.is_ok() {
            oracle.acknowledge(world.now(), value);
        }
        world.sleep(MS * world.below(10) as u32).await;
    }
}

async fn keep_reading(cluster: Arc<Cluster>, node: NodeId, oracle: Oracle, done: Arc<AtomicBool>) {
    let world = cluster.world.fork();
    while !done.load(Ordering::Relaxed) {
        world.sleep(MS * world.below(10) as u32).await;
        let Some(group) = cluster.group_if_running(node) else { continue };
        let bound = MS * world.pick(&[0, 1, 20, 100, 500]);
        let began = world.now();
        let Ok(reply) = group.read(Consistency::Bounded(bound), &Query::Value(1), 400 * MS).await else { continue };
        let ended = world.now();
        let crate::common::Answer::Value(value) = reply.answer else { panic!("the answer to another query") };
        let (linearizable, served_by) = (reply.proof.linearizable, reply.proof.served_by);
        let staleness = reply.proof.staleness.expect("a bounded read says how old it is");
        assert!(staleness <= bound, "{:?} beyond {bound:?}", reply.proof);
        assert!(linearizable || served_by == node, "{:?}", reply.proof);
        assert!(linearizable || !bound.is_zero(), "{:?}", reply.proof);
        // In virtual time nothing passes between a replica's own answer and the end of the call.
        let made = if world.is_virtual && served_by == node { ended } else { began };
        oracle.see(Seen { began, made, ended, value, staleness, linearizable });
    }
}

async fn a_bound_of_zero_is_answered_by_the_leader(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    for value in 1..=10 {
        cluster.raise(leader, 1, value).await;
        for node in cluster.running() {
            let read = cluster.read(node, Consistency::Bounded(Duration::ZERO), 1, CALL).await.unwrap();
            assert_eq!((read.answer, read.proof.staleness), (value, Some(Duration::ZERO)));
            assert_eq!((read.proof.served_by, read.proof.redirected), (leader, node != leader));
            assert!(read.proof.linearizable);
        }
    }
}

async fn a_follower_that_is_cut_off_never_answers_beyond_its_bound(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.raise(leader, 1, 1).await;
    let bound = Duration::from_secs(2);
    let first = cluster.read(follower, Consistency::Bounded(bound), 1, CALL).await.unwrap();
    assert_eq!((first.answer, first.proof.served_by), (1, follower));
    let proven = world.now() - first.proof.staleness.unwrap();
    cluster.network.isolate(follower);
    cluster.raise(leader, 1, 2).await;
    // While the old proof lasts it may answer, and says truly how old that is; then it must not.
    loop {
        let read = cluster.read(follower, Consistency::Bounded(bound), 1, 100 * MS).await;
        let age = world.now().since(proven);
        match read {
            Ok(read) => {
                assert_eq!((read.answer, read.proof.served_by), (1, follower));
                assert!(read.proof.staleness.unwrap() <= bound);
            }
            Err(ReadError::Rejected(_) | ReadError::Deadline(_)) => assert!(age > bound / 2, "refused at {age:?}"),
            Err(other) => panic!("{other:?}"),
        }
        if age > bound + 200 * MS {
            let read = cluster.read(follower, Consistency::Bounded(bound), 1, 100 * MS).await;
            assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{read:?}");
            break;
        }
        world.sleep(20 * MS).await;
    }
    cluster.network.heal_all();
    let read = cluster.read(follower, Consistency::Bounded(bound), 1, CALL).await.unwrap();
    assert_eq!(read.answer, 2);
}

async fn a_follower_whose_questions_do_not_reach_the_leader_is_cut_off_however_well_it_hears(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.network.cut(Link::one(follower, leader));
    cluster.raise(leader, 1, 1).await;
    let bound = Consistency::Bounded(50 * MS);
    let read = cluster.read(follower, bound, 1, 300 * MS).await;
    match read {
        Err(ReadError::Rejected(_) | ReadError::Deadline(_)) => {}
        // By then another node may lead, whom it can ask.
        Ok(read) => assert!(read.answer == 1 && cluster.leader().await != leader, "{read:?}"),
        Err(other) => panic!("{other:?}"),
    }
    // The other way round the answer does not arrive.
    cluster.network.heal_all();
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.read(follower, bound, 1, CALL).await.unwrap();
    world.sleep(60 * MS).await;
    cluster.network.cut(Link::one(leader, follower));
    let read = cluster.read(follower, bound, 1, 100 * MS).await;
    assert!(matches!(read, Err(ReadError::Rejected(_) | ReadError::Deadline(_))), "{read:?}");
}

async fn one_probe_serves_all_who_read_at_once(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    cluster.raise(leader, 1, 1).await;
    // Long enough on their way for all to ask meanwhile.
    cluster.network.set_faults(Link::one(follower, leader), LinkFaults::delayed(20 * MS, 20 * MS));
    let before = cluster.network.traffic_of(follower);
    let bounded = Consistency::Bounded(Duration::from_secs(5));
    let reads = (0..500).map(|_| cluster.read(follower, bounded, 1, CALL));
    for read in futures::future::join_all(reads).await {
        let read = read.unwrap();
        assert_eq!((read.answer, read.proof.served_by), (1, follower));
    }
    let asked = cluster.network.traffic_of(follower).since(&before).of(RequestKind::ReadIndex).messages;
    assert_eq!(asked, 1);
}

async fn nobody_probes_while_nobody_reads(world: World) {
    let cluster = world.cluster(3).await;
    let follower = cluster.follower().await;
    cluster.read(follower, Consistency::Bounded(50 * MS), 1, CALL).await.unwrap();
    world.sleep(300 * MS).await;
    let before = cluster.network.traffic();
    world.sleep(500 * MS).await;
    assert_eq!(cluster.network.traffic().since(&before).of(RequestKind::ReadIndex).messages, 0);
}

async fn readers_who_keep_coming_are_answered_by_their_replica(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let delay = LinkFaults::delayed(5 * MS, 10 * MS);
    cluster.network.set_faults(Link::ALL, delay);
    let (mut here, mut all, mut slowest) = (0, 0, Duration::ZERO);
    let until = world.now() + Duration::from_secs(2);
    while world.now() < until {
        let began = world.now();
        let read = cluster.read(follower, Consistency::Bounded(200 * MS), 1, CALL).await.unwrap();
        if all > 0 {
            slowest = slowest.max(world.now().since(began));
        }
        all += 1;
        here += u32::from(read.proof.served_by == follower);
        world.sleep(MS).await;
    }
    assert!(here * 100 >= all * 95, "{here} of {all} were answered by {follower}");
    // The next proof comes while the last one lasts.
    assert!(!world.is_virtual || slowest.is_zero(), "a reader waited for {slowest:?}");
}
