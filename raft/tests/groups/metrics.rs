//! What a node counts is what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use quorate::{Consistency, metrics};

use crate::common::{CALL, World, in_virtual_time};

/// Every number that was recorded, by name and labels; of a histogram, how often.
fn recorded(recorder: &DebuggingRecorder) -> BTreeMap<String, f64> {
    let all = recorder.snapshotter().snapshot().into_vec();
    let name = |key: &::metrics::Key| {
        let labels: Vec<_> = key.labels().map(|label| format!(" {}", label.value())).collect();
        format!("{}{}", key.name(), labels.concat())
    };
    let number = |value| match value {
        DebugValue::Counter(count) => count as f64,
        DebugValue::Gauge(value) => value.0,
        DebugValue::Histogram(values) => values.len() as f64,
    };
    all.into_iter().map(|(key, _, _, value)| (name(key.key()), number(value))).collect()
}

async fn work(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    for value in 1..=10 {
        cluster.raise(leader, 1, value).await;
    }
    for consistency in [Consistency::Linearizable, Consistency::Bounded(CALL), Consistency::Local] {
        cluster.read(follower, consistency, 1, CALL).await.unwrap();
    }
    cluster.network.isolate(follower);
    cluster.read(follower, Consistency::Linearizable, 1, Duration::from_millis(50)).await.unwrap_err();
    cluster.host(leader).sample_metrics();
}

#[test]
fn writes_reads_and_leaders_are_counted_and_groups_are_sampled() {
    let recorder = DebuggingRecorder::new();
    ::metrics::with_local_recorder(&recorder, || {
        metrics::describe();
        in_virtual_time(work);
    });
    let recorded = recorded(&recorder);
    let number = |name: &str| recorded.get(name).copied().unwrap_or_else(|| panic!("no {name} in {recorded:#?}"));
    assert_eq!(number("quorate_writes_total ok"), 10.0);
    assert_eq!(number("quorate_write_seconds"), 10.0);
    assert_eq!(number("quorate_reads_total linearizable elsewhere"), 1.0);
    assert_eq!(number("quorate_reads_total linearizable failed"), 1.0);
    assert_eq!(number("quorate_reads_total bounded here"), 1.0);
    assert_eq!(number("quorate_read_staleness_seconds"), 1.0);
    assert_eq!(number("quorate_reads_total local here"), 1.0);
    assert!(number("quorate_writes_per_entry") >= 10.0);
    assert!(number("quorate_leader_changes_total") >= 3.0, "each of three replicas saw a leader");
    // Three replicas have applied at least what the leader acknowledged, but perhaps the newest of it.
    assert!(number("quorate_applied_entries_total") >= 20.0);
    let leads: Vec<_> = recorded.iter().filter(|(name, _)| name.starts_with(metrics::LEADS)).collect();
    assert!(matches!(leads[..], [(_, 1.0)]), "{leads:?}");
}
