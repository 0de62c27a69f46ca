//! What an operator's failover says of itself, and when it is refused.

use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_nodes::stdio::FaultAction;
use quorate_statemachines::master::MasterOp;

use super::cluster::{Cluster, change, path};

const NEVER: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_operators_who_replace_one_primary_at_once_one_succeeds() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(3, seed.number(), NEVER).await;
    let primary = cluster.primary().await;
    let at = cluster.names.iter().find(|name| **name != primary).expect("a shadow");
    let operators = futures::future::join_all((0..4).map(|_| cluster.fail_over(at, &primary, None))).await;
    let mut succeeded = 0;
    for outcome in operators {
        match outcome {
            Ok(reply) => {
                assert_ne!(reply.get("new_primary"), Some(primary.as_str().into()));
                succeeded += 1;
            }
            Err(error) => assert_eq!(error.reason.as_deref(), Some("not_primary"), "{error}"),
        }
    }
    // On a busy machine an election may come between them and make it the primary again.
    assert!(succeeded >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_replays_what_it_had_not_applied() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(3, seed.number(), NEVER).await;
    for number in 0..50 {
        let create = change(MasterOp::Create { path: path(&format!("/{number}")) }, None);
        cluster.insist("c", create).await.expect("created");
    }
    let primary = cluster.primary().await;
    let to = cluster.names.iter().find(|name| **name != primary).expect("a shadow").clone();
    cluster.whole().await;
    match cluster.fail_over(&to, &primary, Some(&to)).await {
        Ok(reply) => {
            let replayed = reply.get("wal_entries_replayed").and_then(|number| number.as_u64()).expect("a number");
            assert!((1..50).contains(&replayed), "a shadow that is up to date replays its own epoch: {replayed}");
        }
        Err(error) => assert_eq!(error.reason.as_deref(), Some("not_primary"), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_take_over_is_refused_and_nothing_changes() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(3, seed.number(), NEVER).await;
    let (primary, epoch) = cluster.office().await;
    let shadows: Vec<&String> = cluster.names.iter().filter(|name| **name != primary).collect();
    cluster.fault(shadows[0], FaultAction::Stop).await;
    let dead = cluster.fail_over(shadows[1], &primary, Some(shadows[0])).await.expect_err("it is dead");
    let reason = dead.reason.as_deref();
    assert!(matches!(reason, Some("target_down" | "not_primary")), "{dead}");
    cluster.fault(shadows[0], FaultAction::Start).await;
    cluster.whole().await;

    let (primary, now) = cluster.office().await;
    if (now, &primary) != (epoch, &primary) {
        return;
    }
    let cut_off = cluster.names.iter().find(|name| **name != primary).expect("a shadow");
    cluster.fault(cut_off, FaultAction::Isolate).await;
    match cluster.fail_over(&primary, &primary, Some(cut_off)).await {
        Err(error) => assert!(matches!(error.code.number(), 0 | 11 | 22), "{error}"),
        Ok(reply) => panic!("{cut_off} took over: {reply:?}"),
    }
    cluster.fault(cut_off, FaultAction::Heal).await;
    cluster.whole().await;
}
