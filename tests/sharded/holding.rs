//! Who holds a shard's data when moves are held up: nobody loses it, nobody keeps it for ever, nothing deleted returns.

use std::sync::Arc;
use std::time::Duration;

use quorate_nodes::kv::DriverOptions;
use quorate_statemachines::configlog::Command;
use quorate_statemachines::kv::ShardState;
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use crate::common::stage::{Call, Fate, Stage, When, gate};
use crate::common::{Expected, PATIENCE, Setup, eventually, gid, key, status, text, work};

fn setup(groups: usize) -> Setup {
    let driver = DriverOptions { chunk_bytes: 256, ..DriverOptions::default() };
    Setup::groups(groups).snapshots_at(1000).moves(driver)
}

/// Some keys of shard 0, put.
async fn some_keys(stage: &Stage) -> Expected {
    let mut rng = stage.seed.rng(1);
    let client = stage.client();
    let expected: Expected = (0..20).map(|nth| (key(0, nth), text(&mut rng, 40))).collect();
    for (key, value) in &expected {
        client.put(key, value).await;
    }
    expected
}

async fn check(stage: &Stage, expected: &Expected) {
    let client = stage.client();
    for (key, value) in expected {
        client.check(key, value).await;
    }
}

/// Gives shard 0 to `source` and waits until it is there.
async fn bring_to(stage: &Stage, source: &Gid, all: &[Gid]) {
    let number = stage.move_shard(0, source).await;
    stage.quiet(all, number).await;
}

/// Waits until a group has taken over so many keys of shard 0, and has not got all of it.
async fn pulled(stage: &Stage, gid: &Gid, keys: u64) {
    let group = stage.group(gid);
    eventually(&format!("{gid} has pulled {keys} keys"), || async {
        let Some(status) = status(&group).await else { return false };
        status.shards.get(&ShardId(0)).is_some_and(|shard| shard.state == ShardState::Pulling && shard.keys >= keys)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_deleted_in_mid_move_stays_deleted_though_the_source_returns_from_a_snapshot() {
    let stage = Stage::start(setup(2)).await;
    let both = [gid(0), gid(1)];
    let mut expected = some_keys(&stage).await;
    bring_to(&stage, &both[0], &both).await;
    let gate = gate(&stage, 4);
    let number = stage.move_shard(0, &both[1]).await;
    pulled(&stage, &both[1], 4).await;

    // Some of these were copied already, some were not; the copy must lose all of them.
    let client = stage.client();
    let gone: Vec<Arc<str>> =
        expected.keys().enumerate().filter(|(nth, _)| nth % 3 == 0).map(|(_, key)| Arc::clone(key)).collect();
    for key in &gone {
        client.delete(key).await;
        expected.remove(key);
    }
    let source = stage.group(&both[0]);
    for replica in 0..source.replicas() {
        source.running(replica).expect("it runs").snapshot(PATIENCE).await.expect("a snapshot");
        stage.stop(&both[0], replica).await;
    }
    for replica in 0..source.replicas() {
        stage.start_again(&both[0], replica).await;
    }
    gate.send_replace(true);
    stage.quiet(&both, number).await;
    assert_eq!(stage.holds(&both[0], 0).await, Some(false));
    check(&stage, &expected).await;
    for key in &gone {
        assert_eq!(client.read_within(key, PATIENCE).await, Ok(None), "deleted key {key} is back");
    }
    stage.end().await;
}

/// The newest configuration, but with shard 0 given to nobody.
async fn give_to_nobody(stage: &Stage) -> ConfigNumber {
    let config = stage.latest().await;
    let owner = |shard: ShardId| if shard == ShardId(0) { None } else { config.owner(shard).cloned() };
    let shards = config.shard_ids().map(|shard| (shard, owner(shard))).collect();
    stage.change(Command::Set { number: ConfigNumber(config.number.0 + 5), shards }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_given_to_nobody_keeps_its_data_for_whoever_gets_it_next() {
    let stage = Stage::start(setup(3)).await;
    let all = [gid(0), gid(1), gid(2)];
    let mut expected = some_keys(&stage).await;
    bring_to(&stage, &all[0], &all).await;

    let number = give_to_nobody(&stage).await;
    stage.quiet(&all, number).await;
    let group = stage.group(&all[0]);
    let kept = status(&group).await.expect("it has a leader").shards[&ShardId(0)].clone();
    assert_eq!((kept.state, kept.keys), (ShardState::Frozen, 20));
    let first = key(0, 0);
    let refused = stage.client().read_within(&first, Duration::from_millis(200)).await;
    assert!(refused.is_err(), "a shard of nobody is read: {refused:?}");

    // Back to the group that kept it, then away again, and after some other configurations to another one.
    bring_to(&stage, &all[0], &all).await;
    check(&stage, &expected).await;
    stage.client().append(&first, "+").await;
    expected.get_mut(&first).expect("it was put").push('+');
    give_to_nobody(&stage).await;
    for shard in 1..4 {
        stage.move_shard(shard, &all[2]).await;
    }
    bring_to(&stage, &all[1], &all).await;
    check(&stage, &expected).await;
    assert_eq!(stage.holds(&all[0], 0).await, Some(false));
    stage.end().await;
}

/// A move whose confirmation does not come through: its requests, or the answers to them.
async fn unconfirmed(lost: When) {
    let stage = Stage::start(setup(2)).await;
    let both = [gid(0), gid(1)];
    let expected = some_keys(&stage).await;
    bring_to(&stage, &both[0], &both).await;
    stage.watch(move |passage| async move {
        if passage.call == Call::Delete && passage.when == lost { Fate::Lose } else { Fate::Pass }
    });
    let number = stage.move_shard(0, &both[1]).await;
    // The source deletes: it was told and its answer was lost, or it has asked by itself.
    eventually("the source holds nothing", || async { stage.holds(&both[0], 0).await == Some(false) }).await;
    check(&stage, &expected).await;
    // The destination still wants to be heard, and goes on to further configurations meanwhile.
    let next = stage.move_shard(1, &both[1]).await;
    let destination = stage.group(&both[1]);
    eventually("the destination goes on", || async {
        work(&destination).await.is_some_and(|work| work.number >= next && work.settled)
    })
    .await;
    let duties = work(&destination).await.expect("it has a leader").acks;
    assert!(duties.iter().any(|duty| duty.shard == ShardId(0) && duty.lost_at == number), "{duties:?}");
    stage.unwatch();
    stage.quiet(&both, next).await;
    check(&stage, &expected).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_never_told_asks_and_deletes() {
    unconfirmed(When::Before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_never_hears_the_confirmation_goes_on_and_repeats_it() {
    unconfirmed(When::After).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_never_answers_keeps_no_other_source_from_being_told() {
    let stage = Stage::start(setup(3)).await;
    let [silent, destination, other] = [gid(0), gid(1), gid(2)];
    bring_to(&stage, &silent, &[gid(0), gid(1), gid(2)]).await;
    let to_silent = silent.clone();
    stage.watch(move |passage| {
        let fate = if passage.call == Call::Delete && passage.to == to_silent { Fate::Lose } else { Fate::Pass };
        std::future::ready(fate)
    });
    // The same shard comes to the destination from both, one after the other.
    for to in [&destination, &other, &destination] {
        let number = stage.move_shard(0, to).await;
        let group = stage.group(to);
        eventually("the shard has come", || async {
            work(&group).await.is_some_and(|work| work.number >= number && work.settled)
        })
        .await;
    }
    let group = stage.group(&destination);
    eventually("only the silent source is still to be told", || async {
        work(&group).await.is_some_and(|work| work.acks.iter().all(|ack| ack.source == silent))
    })
    .await;
    assert!(!work(&group).await.expect("it has a leader").acks.is_empty());
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_left_gives_its_data_however_late_it_is_fetched() {
    let stage = Stage::start(setup(3)).await;
    let all = [gid(0), gid(1), gid(2)];
    let expected = some_keys(&stage).await;
    bring_to(&stage, &all[0], &all).await;
    let gate = gate(&stage, 2);
    stage.change(Command::Leave { gids: [gid(0)].into() }).await;
    // More configurations follow, in which the one that leaves has no part.
    stage.move_shard(0, &gid(2)).await;
    let number = stage.move_shard(0, &gid(1)).await;
    let group = stage.group(&gid(0));
    eventually("the group that left has data to give", || async {
        status(&group).await.is_some_and(|status| {
            status.shards.values().any(|shard| shard.state == ShardState::Outgoing && shard.keys > 0)
        })
    })
    .await;
    // Its data is served until it is fetched.
    check(&stage, &expected).await;
    gate.send_replace(true);
    stage.quiet(&all, number).await;
    let left = status(&group).await.expect("it has a leader");
    assert!(left.shards.is_empty(), "the group that left still holds {:?}", left.shards);
    check(&stage, &expected).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_go_through_every_configuration_in_order_however_slow_the_moves() {
    let slow = DriverOptions { chunk_bytes: 256, bytes_per_second_max: Some(4000), ..DriverOptions::default() };
    let stage = Stage::start(Setup::groups(2).snapshots_at(1000).moves(slow)).await;
    let both = [gid(0), gid(1)];
    let expected = some_keys(&stage).await;
    bring_to(&stage, &both[0], &both).await;
    let first = stage.latest().await.number;
    let watchers: Vec<_> = both
        .iter()
        .map(|gid| {
            let group = stage.group(gid);
            tokio::spawn(async move {
                let mut seen = vec![first];
                while seen.last().is_none_or(|last| last.0 < first.0 + 4) {
                    if let Some(status) = status(&group).await
                        && seen.last() != Some(&status.number)
                    {
                        seen.push(status.number);
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                seen
            })
        })
        .collect();
    // All are there long before the first move is done.
    for to in [1, 0, 1, 0] {
        stage.move_shard(0, &gid(to)).await;
    }
    let all_numbers: Vec<ConfigNumber> = (0..=4).map(|n| ConfigNumber(first.0 + n)).collect();
    for watcher in watchers {
        let seen = tokio::time::timeout(PATIENCE, watcher).await.expect("all configurations in time").unwrap();
        assert_eq!(seen, all_numbers);
    }
    stage.quiet(&both, ConfigNumber(first.0 + 4)).await;
    check(&stage, &expected).await;
    stage.end().await;
}
