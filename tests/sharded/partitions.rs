//! One group, one partition or one late replica at a time, looked at closely.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::{ClientSession, Stamp};
use quorate::transport::RequestKind;
use quorate::{ClientId, Consistency, Group, NodeId, WriteOptions};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::{KvAnswer, KvCommand, KvMachine, KvOp, KvQuery, KvReply};

use crate::common::{Cluster, Setup, eventually, json, key, pause};

const T: Duration = Duration::from_secs(2);

/// Cuts the group into those replicas and the others.
fn partition(cluster: &Cluster, side: &[usize]) {
    let group = cluster.group(0);
    let nodes = |here: bool| -> BTreeSet<NodeId> {
        (0..group.replicas()).filter(|nth| side.contains(nth) == here).filter_map(|nth| group.node(nth)).collect()
    };
    cluster.network().heal_all();
    cluster.network().partition(&[nodes(true), nodes(false)]);
}

fn put(value: &str, stamp: &Stamp) -> KvCommand {
    KvCommand::Op {
        shard: ShardId(1),
        session: Some(stamp.clone()),
        op: KvOp::Put { key: key(1, 0), value: json(value) },
    }
}

/// Puts through one replica until it is done.
async fn put_through(replica: Group<KvMachine>, value: &'static str, stamp: Stamp) {
    let command = put(value, &stamp);
    let attempt = || async {
        let written = replica.write(&command, WriteOptions { session: None, timeout: T }).await;
        matches!(written.map(|written| written.reply), Ok(KvReply::Done { .. }))
    };
    eventually("a put is done", attempt).await;
}

/// Gets through one replica until there is an answer.
async fn get_through(replica: Group<KvMachine>) -> Option<String> {
    let query = KvQuery::Get { shard: ShardId(1), key: key(1, 0) };
    loop {
        if let Ok(reply) = replica.read(Consistency::Linearizable, &query, T).await {
            let KvAnswer::Value(value) = reply.answer else { panic!("{:?}", reply.answer) };
            return value.map(|value| value.text().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_completes_nothing_until_the_partition_heals() {
    let cluster = Setup::groups(1).replicas(5).start().await;
    cluster.join([0]).await;
    cluster.client().put(&key(1, 0), "13").await;
    let group = cluster.group(0);
    let leader = group.leader().expect("the put was done");
    let minority = [leader, (leader + 1) % 5];
    let majority = |nth: usize| group.running((leader + 2 + nth) % 5).expect("it runs");
    let session = ClientSession::new(ClientId::new("partitioned"));
    let open = KvCommand::OpenSession { shard: ShardId(1), client: session.client().clone() };
    majority(0).write(&open, WriteOptions { session: None, timeout: T * 10 }).await.unwrap();

    partition(&cluster, &minority);
    let calls: Vec<_> = std::iter::from_fn(|| session.call()).take(3).collect();
    put_through(majority(0), "14", calls[0].stamp().clone()).await;
    let in_minority = |nth: usize| group.running(minority[nth]).expect("it runs");
    let late_put = tokio::spawn(put_through(in_minority(0), "15", calls[1].stamp().clone()));
    let late_get = tokio::spawn(get_through(in_minority(1)));
    pause(1000).await;
    assert!(!late_put.is_finished() && !late_get.is_finished(), "a minority answered");
    assert_eq!(get_through(majority(1)).await.as_deref(), Some("\"14\""));
    put_through(majority(2), "16", calls[2].stamp().clone()).await;

    cluster.network().heal_all();
    let seen = late_get.await.unwrap();
    assert!(matches!(seen.as_deref(), Some("\"15\"" | "\"16\"")), "an old value after the heal: {seen:?}");
    late_put.await.unwrap();
    cluster.client().check(&key(1, 0), "15").await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_behind_the_log_catches_up_by_a_snapshot_and_then_carries_the_majority() {
    let cluster = Setup::groups(1).snapshots_at(1000).start().await;
    cluster.join([0]).await;
    let client = cluster.client();
    client.put(&key(0, 0), "A").await;
    let group = cluster.group(0);
    let late = (group.leader().expect("the put was done") + 2) % 3;
    let (first, second) = ((late + 1) % 3, (late + 2) % 3);

    partition(&cluster, &[late]);
    for n in 0..50 {
        client.put(&key(n % 10, 0), &n.to_string()).await;
    }
    client.put(&key(0, 0), "B").await;
    cluster.check_logs([0]).await;
    let missed = group.running(late).and_then(|replica| replica.applied());
    let purged = || group.running(first).and_then(|replica| replica.status().purged);
    eventually("the log of the others begins after the late replica's end", || {
        std::future::ready(purged().map(|purged| purged.index) > missed)
    })
    .await;

    let before = cluster.network().traffic();
    cluster.network().heal_all();
    partition(&cluster, &[second]);
    client.put(&key(0, 0), "C").await;
    client.put(&key(1, 0), "D").await;
    client.check(&key(0, 0), "C").await;
    client.check(&key(9, 0), "49").await;
    let snapshots = cluster.network().traffic().since(&before).of(RequestKind::Snapshot);
    assert!(snapshots.messages > 0, "the late replica needs a snapshot");
    cluster.network().heal_all();
    client.put(&key(2, 0), "E").await;
    client.check(&key(1, 0), "D").await;
    cluster.check_logs([0]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_written_over_and_over_keeps_log_and_state_small() {
    let cluster = Setup::groups(1).snapshots_at(1000).start().await;
    cluster.join([0]).await;
    let client = cluster.client();
    let key: Arc<str> = key(3, 0);
    for _ in 0..60 {
        for value in ["0", "1"] {
            client.put(&key, value).await;
            client.check(&key, value).await;
        }
    }
    cluster.check_logs([0]).await;
    cluster.check_snapshots([0]).await;
    let status = crate::common::status(&cluster.group(0)).await.expect("the group has a leader");
    let shard = &status.shards[&ShardId(3)];
    assert_eq!((shard.keys, shard.sessions), (1, 1));
    assert!(shard.bytes <= 500);
    cluster.end().await;
}
