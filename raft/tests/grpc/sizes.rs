//! Messages that are too large, and logs of which a message can hold a part only.

use std::time::Duration;

use quorate::transport::grpc::GrpcLimits;
use quorate::{GroupOptions, Rejected, WriteError, WriteOptions};

use crate::common::{CALL, Cluster, GROUP, Setting, eventually};
use crate::machine::Command;

const LIMIT: usize = GrpcLimits::MESSAGE_BYTES_MIN;

fn fill(to: u64, bytes: usize) -> Command {
    Command::Fill { key: 1, to, room: vec![7; bytes] }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_no_message_holds_is_refused_before_it_reaches_the_log() {
    let limits = GrpcLimits { message_bytes_max: LIMIT, ..GrpcLimits::default() };
    let cluster = Cluster::start(3, Setting { limits, ..Setting::default() }).await;
    for via in cluster.running() {
        let options = WriteOptions { session: None, timeout: CALL };
        let error = cluster.group(via).write(&fill(1, LIMIT), options).await.unwrap_err();
        assert!(matches!(&error, WriteError::Rejected(Rejected::Invalid(_))), "{error:?}");
        assert!(error.to_string().contains("2097152 are carried"), "{error}");
    }
    // The largest that fits, and the group has taken no harm.
    for via in cluster.running() {
        cluster.write(via, GROUP, fill(2, LIMIT - 5000)).await;
        assert_eq!(cluster.value(via, GROUP, 1).await, 2);
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_sent_in_many_messages_what_one_does_not_hold() {
    let limits = GrpcLimits { message_bytes_max: LIMIT, ..GrpcLimits::default() };
    // No snapshot: it has to come from the log.
    let options = GroupOptions { snapshot_log_bytes: 1 << 30, ..Setting::default().options };
    let mut cluster = Cluster::start(3, Setting { limits, options, ..Setting::default() }).await;
    let away = cluster.followers().await[0];
    cluster.stop_node(away).await;
    let leader = cluster.leader().await;
    let mut last = None;
    for n in 1..=8 {
        last = Some(cluster.write(leader, GROUP, fill(n, 600 << 10)).await.at.index);
    }
    cluster.start_node(away).await;
    let group = cluster.group(away);
    eventually("it has caught up", || group.applied() >= last).await;
    assert!(group.wait_applied(last.unwrap(), Duration::ZERO).await);
    cluster.shutdown().await;
}
