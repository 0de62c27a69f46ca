//! A follower that is too far behind for the log.

use std::time::{Duration, Instant};

use quorate::transport::grpc::GrpcLimits;
use quorate::{Consistency, GroupOptions, NodeId};

use crate::common::{CALL, Cluster, GROUP, Setting, eventually};
use crate::machine::{Command, Query};

/// Entries in the machine: a snapshot of several pieces.
const ITEMS: u64 = 40_000;

async fn far_behind(limits: GrpcLimits) -> (Cluster, NodeId) {
    let options = GroupOptions { snapshot_log_bytes: 64 << 10, snapshot_keep_entries: 4, ..Setting::default().options };
    let mut cluster = Cluster::start(3, Setting { options, limits, ..Setting::default() }).await;
    let away = cluster.followers().await[0];
    cluster.stop_node(away).await;
    let leader = cluster.leader().await;
    for start in (0..ITEMS).step_by(1000) {
        let writes = (start..start + 1000).map(|value| (None, Command::Push { value: value | 1 << 60 }));
        let written = cluster.group(leader).write_many(writes, CALL).await.unwrap();
        assert!(written.iter().all(Result::is_ok));
    }
    let group = cluster.group(leader);
    eventually("the log is purged", || group.status().purged.is_some_and(|purged| purged.index.0 > 20)).await;
    (cluster, away)
}

async fn caught_up(cluster: &Cluster, away: NodeId) {
    let leader = cluster.leader().await;
    let last = cluster.group(leader).status().last;
    let group = cluster.group(away);
    eventually("it has caught up", || group.applied() >= last).await;
    let all = |node| async move {
        cluster.group(node).read(Consistency::Local, &Query::Everything, CALL).await.unwrap().answer
    };
    assert!(group.status().snapshot.is_some());
    assert_eq!(all(away).await, all(leader).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_for_long_is_sent_a_snapshot() {
    let (mut cluster, away) = far_behind(GrpcLimits::default()).await;
    cluster.start_node(away).await;
    caught_up(&cluster, away).await;
    cluster.write(away, GROUP, Command::Push { value: 1 }).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_a_snapshot_crawls() {
    let limits = GrpcLimits { snapshot_bytes_per_second: Some(400_000), ..GrpcLimits::default() };
    let (mut cluster, away) = far_behind(limits).await;
    let began = Instant::now();
    cluster.start_node(away).await;
    let leader = cluster.leader().await;
    let (group, covered) = (cluster.group(away).clone(), cluster.group(leader).status().snapshot);
    let mut meanwhile = 0;
    while group.applied() < covered.map(|at| at.index) {
        cluster.write(leader, GROUP, Command::Add { key: 1, amount: 1 }).await;
        meanwhile += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    caught_up(&cluster, away).await;
    assert!(began.elapsed() > Duration::from_millis(500), "the bound of its speed was not kept");
    assert!(meanwhile > 10, "only {meanwhile} writes in {:?}", began.elapsed());
    cluster.shutdown().await;
}
