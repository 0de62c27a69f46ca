//! Groups join and leave: shards move with all they hold, and a dead group takes only its own keys along.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use quorate_nodes::embedded::ReplicaFault;

use crate::common::{Cluster, Expected, Setup, eventually, gid, key, keys, pause, text};

/// Random texts for these keys.
fn values(cluster: &Cluster, keys: impl IntoIterator<Item = Arc<str>>, length: usize) -> Expected {
    let mut rng = cluster.seed.rng(1);
    keys.into_iter().map(|key| (key, text(&mut rng, length))).collect()
}

/// Each key holds what it must, and holds more afterwards.
async fn check_and_append(cluster: &Cluster, expected: &mut Expected, length: usize) {
    let mut rng = cluster.seed.rng(2 + expected.values().map(String::len).sum::<usize>() as u64);
    let client = cluster.client();
    for (key, value) in expected {
        client.check(key, value).await;
        let more = text(&mut rng, length);
        client.append(key, &more).await;
        value.push_str(&more);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_shards_one_dead_group_leaves_exactly_its_keys_waiting() {
    let cluster = Setup::groups(3).start().await;
    cluster.join([0]).await;
    cluster.join([1]).await;
    let expected = values(&cluster, keys(), 20);
    cluster.put_all(&expected).await;
    cluster.check_all(&expected).await;
    cluster.quiet([0, 1]).await;
    let config = cluster.config().await;
    assert_eq!((config.shards_of(&gid(0)).len(), config.shards_of(&gid(1)).len()), (5, 5));

    cluster.fault_all([1], ReplicaFault::Stop).await;
    cluster.check_logs([0]).await;
    let done = Arc::<AtomicUsize>::default();
    let gets: Vec<_> = expected
        .iter()
        .map(|(key, value)| {
            let (client, done, key, value) = (cluster.client(), Arc::clone(&done), Arc::clone(key), value.clone());
            tokio::spawn(async move {
                client.check(&key, &value).await;
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    eventually("the keys of the group that lives are read", || std::future::ready(done.load(Ordering::Relaxed) >= 5))
        .await;
    // The others must not come: that can only be waited for.
    let start = Instant::now();
    while start.elapsed().as_millis() < 1000 {
        pause(20).await;
        assert_eq!(done.load(Ordering::Relaxed), 5, "a key of the dead group was read");
    }
    for (get, key) in gets.iter().zip(expected.keys()) {
        let owner = config.shard_of(key).and_then(|shard| config.owner(shard));
        assert_eq!(get.is_finished(), owner == Some(&gid(0)), "key {key} of {owner:?}");
    }
    cluster.fault_all([1], ReplicaFault::Start).await;
    for get in gets {
        get.await.unwrap();
    }
    cluster.check_all(&expected).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_gave_all_its_shards_away_may_die() {
    let cluster = Setup::groups(3).start().await;
    cluster.join([0]).await;
    let mut expected = values(&cluster, keys(), 5);
    cluster.put_all(&expected).await;
    cluster.check_all(&expected).await;
    cluster.join([1]).await;
    check_and_append(&cluster, &mut expected, 5).await;
    cluster.leave([0]).await;
    check_and_append(&cluster, &mut expected, 5).await;
    cluster.quiet([0, 1]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.fault_all([0], ReplicaFault::Stop).await;
    cluster.check_all(&expected).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_survive_moves_and_a_restart_of_all_groups_from_snapshots() {
    let cluster = Setup::groups(3).snapshots_at(1000).start().await;
    cluster.join([0]).await;
    let three_each = (0..10).flat_map(|shard| (0..3).map(move |nth| key(shard, nth)));
    let mut expected = values(&cluster, three_each, 20);
    cluster.put_all(&expected).await;
    cluster.check_all(&expected).await;
    cluster.join([1]).await;
    cluster.join([2]).await;
    cluster.leave([0]).await;
    check_and_append(&cluster, &mut expected, 20).await;
    cluster.leave([1]).await;
    cluster.join([0]).await;
    check_and_append(&cluster, &mut expected, 20).await;
    cluster.quiet([0, 1, 2]).await;
    cluster.check_all(&expected).await;
    cluster.check_snapshots([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.fault_all([0, 1, 2], ReplicaFault::Stop).await;
    cluster.fault_all([0, 1, 2], ReplicaFault::Start).await;
    cluster.check_all(&expected).await;
    cluster.end().await;
}

/// One replica of each group misses several configurations, and is then needed for every majority.
async fn missed_configurations(rounds: usize) {
    let cluster = Setup::groups(3).snapshots_at(1000).start().await;
    cluster.join([0]).await;
    let mut expected = values(&cluster, keys(), 20);
    cluster.put_all(&expected).await;
    cluster.check_all(&expected).await;
    cluster.join([1]).await;
    for round in 0..rounds {
        let (first, second) = (round % 3, (round + 1) % 3);
        for group in 0..3 {
            cluster.fault(group, first, ReplicaFault::Stop).await;
        }
        cluster.join([2]).await;
        cluster.leave([1]).await;
        cluster.leave([0]).await;
        check_and_append(&cluster, &mut expected, 20).await;
        cluster.join([1]).await;
        check_and_append(&cluster, &mut expected, 20).await;
        for group in 0..3 {
            cluster.fault(group, first, ReplicaFault::Start).await;
        }
        check_and_append(&cluster, &mut expected, 20).await;
        // From here on each group's majority needs the replica that was away.
        for group in 0..3 {
            cluster.fault(group, second, ReplicaFault::Stop).await;
        }
        cluster.join([0]).await;
        cluster.leave([2]).await;
        check_and_append(&cluster, &mut expected, 20).await;
        for group in 0..3 {
            cluster.fault(group, second, ReplicaFault::Start).await;
        }
        cluster.check_all(&expected).await;
    }
    cluster.quiet([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_missed_configurations_catches_up_when_it_is_needed() {
    missed_configurations(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn replicas_that_missed_configurations_catch_up_long() {
    missed_configurations(6).await;
}
