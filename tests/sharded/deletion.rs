//! A group that gave a shard away really deletes it: what all replicas hold together stays bounded.

use crate::common::{Cluster, Expected, Setup, eventually, key, text};

/// Three copies of each value, and a quarter more for logs and sessions.
const BYTES_MAX: u64 = 3 * ((30 - 3) * 1000 + 2 * 3 * 1000 + 6000);

async fn check_three(cluster: &Cluster, expected: &Expected) {
    let client = cluster.client();
    for (key, value) in expected.iter().take(3) {
        client.check(key, value).await;
    }
}

async fn moved_shards_are_deleted(rounds: usize) {
    let cluster = Setup::groups(3).snapshots_at(1).start().await;
    cluster.join([0]).await;
    let mut rng = cluster.seed.rng(1);
    let three_each = (0..10).flat_map(|shard| (0..3).map(move |nth| key(shard, nth)));
    let expected: Expected = three_each.map(|key| (key, text(&mut rng, 1000))).collect();
    cluster.put_all(&expected).await;
    check_three(&cluster, &expected).await;
    for _ in 0..rounds {
        cluster.join([1]).await;
        cluster.leave([0]).await;
        cluster.join([2]).await;
        cluster.quiet([0, 1, 2]).await;
        check_three(&cluster, &expected).await;
        cluster.leave([1]).await;
        cluster.join([0]).await;
        cluster.leave([2]).await;
        cluster.quiet([0, 1, 2]).await;
        check_three(&cluster, &expected).await;
    }
    cluster.join([1]).await;
    cluster.join([2]).await;
    cluster.quiet([0, 1, 2]).await;
    eventually("all replicas together hold each value three times and little more", || async {
        cluster.bytes([0, 1, 2]).await <= BYTES_MAX
    })
    .await;
    cluster.check_snapshots([0, 1, 2]).await;
    cluster.check_all(&expected).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn moved_shards_are_deleted_at_their_old_owners() {
    moved_shards_are_deleted(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn moved_shards_are_deleted_at_their_old_owners_long() {
    moved_shards_are_deleted(10).await;
}
