//! The single steps: who may go on alone, what a cut on the way leaves, how the other comes back.

use std::time::Duration;

use quorate::transport::{Link, LinkFaults};
use quorate::{Consistency, GroupOptions, NodeId, TakeOver, TakeOverRefusal, Unknown, WriteError, WriteOptions};

use super::chair::Command;
use super::disk::Trap;
use super::pair::{A, B, MS, Pair, other};
use crate::common::{World, claims};

claims!(
    the_shadow_goes_on_alone_and_takes_the_old_primary_in_again,
    the_primary_never_goes_on_alone_not_after_a_restart_either,
    a_refusal_leaves_the_group_serving,
    a_takeover_cut_off_anywhere_is_resumed_or_forgotten,
    the_old_primarys_tail_is_dropped_and_its_clients_told_unknown,
    no_follower_has_an_entry_that_its_leader_could_lose,
    a_node_knows_when_it_last_heard_its_leader,
    a_write_as_leader_is_never_handed_on,
);

const CALL: Duration = Duration::from_secs(20);

async fn the_shadow_goes_on_alone_and_takes_the_old_primary_in_again(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    for round in 0..4 {
        let old = pair.primary().await;
        assert!(pair.put(old, round * 2, CALL).await);
        pair.crash(old);
        let shadow = other(old);
        let outcome = pair.take_over(shadow).await.unwrap();
        assert!(matches!(outcome, TakeOver::Alone(_)), "{outcome}");
        pair.serving(shadow).await;
        assert!(pair.put(shadow, round * 2 + 1, CALL).await);
        pair.look(shadow, Consistency::Linearizable, CALL).await;
        // It does not make itself depend on a peer that is dead.
        world.sleep(500 * MS).await;
        assert!(pair.put(shadow, 100 + round, CALL).await);
        pair.converge().await;
    }
}

async fn the_primary_never_goes_on_alone_not_after_a_restart_either(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    let primary = pair.primary().await;
    assert!(pair.put(primary, 1, CALL).await);
    pair.crash(other(primary));
    for restarted in [false, true] {
        if restarted {
            pair.crash(primary);
            pair.start_node(primary).await;
        }
        for _ in 0..2 {
            let outcome = pair.take_over(primary).await.unwrap();
            assert!(matches!(&outcome, TakeOver::Refused { cause: TakeOverRefusal::Judged, .. }), "{outcome}");
        }
        world.sleep(Duration::from_secs(1)).await;
        assert!(!pair.put(primary, 2, 300 * MS).await, "acknowledged by one of two");
    }
    pair.converge().await;
}

async fn a_refusal_leaves_the_group_serving(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    let primary = pair.primary().await;
    assert!(matches!(pair.take_over(primary).await.unwrap(), TakeOver::Refused { .. }));
    let primary = pair.primary().await;
    assert!(pair.put(primary, 1, CALL).await || pair.put(pair.primary().await, 1, CALL).await);
    pair.converge().await;
    // Without flushing first, both could be left with the other's claim as the newest.
    pair.crash(B);
    let unsafe_options = GroupOptions { flush_before_send: false, ..Pair::options() };
    let careless = Pair::start(&world, unsafe_options).await;
    assert!(careless.take_over(A).await.is_err());
}

async fn a_takeover_cut_off_anywhere_is_resumed_or_forgotten(world: World) {
    for trap in [Trap::BeforeVote, Trap::AfterVote, Trap::BeforeAppend, Trap::AfterAppend] {
        let pair = Pair::start(&world, Pair::options()).await;
        let old = pair.primary().await;
        let shadow = other(old);
        assert!(pair.put(old, 1, CALL).await);
        pair.crash(old);
        let life = pair.life(shadow).unwrap();
        // So that it is the takeover that falls into the trap.
        life.host.stop_group(super::pair::GROUP).await;
        pair.disk(shadow).set(trap);
        pair.take_over(shadow).await.unwrap_err();
        pair.crash(shadow);
        let life = pair.start_node(shadow).await;
        let voters = pair.voters(shadow).await;
        if matches!(trap, Trap::AfterAppend) {
            assert_eq!(voters, [[shadow].into()], "{trap:?}");
            pair.serving(shadow).await;
        } else {
            assert_eq!(voters, [[A, B].into()], "{trap:?}");
            world.sleep(Duration::from_secs(1)).await;
            assert_eq!(life.epoch(), None, "{trap:?}");
            // And a second attempt, or the other's return, is as good as ever.
            if world.below(2) == 0 {
                assert!(matches!(pair.take_over(shadow).await.unwrap(), TakeOver::Alone(_)), "{trap:?}");
            }
        }
        // Asked again, it is as alone as before.
        if pair.voters(shadow).await == [[shadow].into()] {
            assert!(matches!(pair.take_over(shadow).await.unwrap(), TakeOver::Alone(_)), "{trap:?}");
        }
        pair.converge().await;
    }
}

async fn the_old_primarys_tail_is_dropped_and_its_clients_told_unknown(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    let old = pair.primary().await;
    let shadow = other(old);
    assert!(pair.put(old, 1, CALL).await);
    pair.network.isolate(old);
    let (group, epoch) = (pair.group(old), pair.life(old).unwrap().epoch().unwrap());
    let clients: Vec<_> = (100..105)
        .map(|value| {
            let group = group.clone();
            tokio::spawn(async move {
                let options = WriteOptions { session: None, timeout: CALL };
                group.write_as_leader(&Command::Put { epoch, value }, options).await
            })
        })
        .collect();
    let before = group.status().last;
    world.eventually("a tail is appended", || group.status().last > before).await;
    let takes_over = std::sync::Arc::clone(&pair);
    let outcome = tokio::spawn(async move { takes_over.take_over(shadow).await.unwrap() }).await.unwrap();
    assert!(matches!(outcome, TakeOver::Alone(_)), "{outcome}");
    pair.serving(shadow).await;
    for value in 2..20 {
        assert!(pair.put(shadow, value, CALL).await);
    }
    pair.converge().await;
    let mut unknown = 0;
    for client in clients {
        match client.await.unwrap() {
            Err(WriteError::Unknown(Unknown::LeaderLost)) => unknown += 1,
            // It still waited its turn to be proposed.
            told => assert!(matches!(told, Err(WriteError::Rejected(_))), "{told:?}"),
        }
    }
    assert!(unknown > 0, "whose write was in the tail was told that its fate is open");
    let held = pair.group(old).with_state(Consistency::Local, CALL, |chair| chair.values.clone()).await.unwrap();
    assert!((100..105).all(|value| !held.answer.contains(&value)), "{:?}", held.answer);
}

async fn no_follower_has_an_entry_that_its_leader_could_lose(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    let primary = pair.primary().await;
    let shadow = other(primary);
    pair.disk(primary).slow_down(200 * MS);
    let (leader, follower) = (pair.group(primary), pair.group(shadow));
    let writer = {
        let pair = std::sync::Arc::clone(&pair);
        tokio::spawn(async move {
            for value in 0..20 {
                pair.put(primary, value, CALL).await;
            }
        })
    };
    let (mut ahead, mut looks) = (0, 0);
    while !writer.is_finished() {
        world.sleep(MS).await;
        if leader.status().leadership.role != quorate::Role::Leader {
            break;
        }
        // In this order: both only grow.
        let has = follower.status().last;
        let flushed = pair.disk(primary).durable_last().map(|last| last.index);
        let written = leader.status().last;
        assert!(has <= flushed, "{shadow} has {has:?}, {primary} has flushed {flushed:?}");
        looks += 1;
        ahead += u64::from(flushed < written);
    }
    writer.await.unwrap();
    assert!(!world.is_virtual || (ahead > 20 && looks > ahead), "of {looks} looks {ahead} saw entries not flushed");
    pair.converge().await;
}

async fn a_node_knows_when_it_last_heard_its_leader(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    let primary = pair.primary().await;
    let shadow = pair.group(other(primary));
    world
        .eventually("the shadow hears the primary", || shadow.leader_heard().is_some_and(|(by, _)| by == primary))
        .await;
    let beat = pair.options.heartbeat;
    world.sleep(20 * beat).await;
    if world.is_virtual {
        let (_, heard) = shadow.leader_heard().unwrap();
        assert!(world.now().since(heard) <= 2 * beat, "a heartbeat is news");
    }
    pair.network.cut(Link::one(primary, other(primary)));
    world.sleep(beat).await;
    let (_, last) = shadow.leader_heard().unwrap();
    world.sleep(Duration::from_secs(3)).await;
    // No election can succeed: what it heard last is all that it knows.
    assert_eq!(shadow.leader_heard(), Some((primary, last)));
    pair.network.heal_all();
    world
        .eventually("it hears a leader again", || {
            let leads = shadow.status().leadership.leader == Some(other(primary));
            leads || shadow.leader_heard().is_some_and(|(_, heard)| heard > last)
        })
        .await;
}

async fn a_write_as_leader_is_never_handed_on(world: World) {
    let pair = Pair::start(&world, Pair::options()).await;
    for round in 0..3 {
        let primary = pair.primary().await;
        let epoch = pair.life(primary).unwrap().epoch().unwrap();
        let options = WriteOptions { session: None, timeout: 200 * MS };
        let handed_on =
            pair.group(other(primary)).write_as_leader(&Command::Put { epoch, value: round }, options).await;
        assert!(matches!(handed_on, Err(WriteError::Rejected(_))) || !world.is_virtual, "{handed_on:?}");
        pair.network.set_faults(Link::ALL, LinkFaults::delayed(MS, 5 * MS));
        let to: NodeId = other(primary);
        pair.group(primary).transfer_leadership(to, CALL).await.unwrap();
        pair.serving(to).await;
    }
    pair.converge().await;
}
