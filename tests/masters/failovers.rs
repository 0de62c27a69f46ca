//! One failover after the other, planned and not, with clients at work.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_nodes::stdio::FaultAction;
use quorate_statemachines::master::MasterOp;
use rand::RngExt;

use super::cluster::{Cluster, PATIENCE, change};
use super::load::Load;

const CLIENTS: usize = 4;

/// Who is to be told of every primary.
const AUDIENCE: [&str; 3] = ["s1", "s2", "watcher"];

async fn fail_over_again_and_again(masters: usize, rounds: usize) {
    let seed = Seed::of("masters");
    let mut rng = seed.rng(0);
    let cluster = Cluster::start(masters, seed.number(), Duration::from_secs(1)).await;
    for server in ["s1", "s2"] {
        let register = change(MasterOp::Register { server: server.into(), capacity: 10 }, None);
        cluster.insist(server, register).await.expect("registered");
    }
    cluster.insist("watcher", change(MasterOp::Subscribe { who: "watcher".into() }, None)).await.expect("subscribed");

    let load = Load::insisting(&cluster, CLIENTS);
    for round in 0..rounds {
        load.goes_on(20).await;
        let (primary, epoch) = cluster.office().await;
        match rng.random_range(0..6) {
            0 | 1 => planned(&cluster, &primary).await,
            2 => {
                cluster.fault(&primary, FaultAction::Stop).await;
                succeeded(&cluster, epoch).await;
                cluster.fault(&primary, FaultAction::Start).await;
            }
            3 => {
                cluster.fault(&primary, FaultAction::Isolate).await;
                succeeded(&cluster, epoch).await;
                cluster.fault(&primary, FaultAction::Heal).await;
            }
            4 => {
                cluster.fault(&primary, FaultAction::Pause).await;
                succeeded(&cluster, epoch).await;
                cluster.fault(&primary, FaultAction::Resume).await;
            }
            _ => {
                cluster.fault(&primary, FaultAction::Stop).await;
                operator_insists(&cluster, &primary).await;
                succeeded(&cluster, epoch).await;
                cluster.fault(&primary, FaultAction::Start).await;
            }
        }
        println!("round {round}: {primary} at {epoch}, then {:?}", cluster.office().await);
        cluster.whole().await;
    }
    load.goes_on(20).await;
    let acknowledged = load.stop().await;
    let found: BTreeSet<String> = cluster.paths().await.into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    assert_eq!(found, acknowledged, "every path was insisted on until it was acknowledged");
    cluster.check_told(&AUDIENCE);
    cluster.masters.shutdown().await;
}

/// An operator hands the primary's office over. It may be lost meanwhile to an election.
async fn planned(cluster: &Cluster, primary: &str) {
    let at = cluster.names.last().expect("a name");
    match cluster.fail_over(at, primary, None).await {
        Ok(reply) => assert_ne!(reply.get("new_primary"), Some(primary.into())),
        Err(error) => println!("{primary} was not replaced: {error}"),
    }
}

/// An operator has a dead primary replaced, unless that has happened already.
async fn operator_insists(cluster: &Cluster, dead: &str) {
    let at = cluster.names.iter().find(|name| *name != dead).expect("another one");
    match cluster.fail_over(at, dead, None).await {
        Ok(reply) => assert_ne!(reply.get("new_primary"), Some(dead.into())),
        Err(error) => assert_eq!(error.reason.as_deref(), Some("not_primary"), "{error}"),
    }
}

/// Waits for a newer epoch than this one.
async fn succeeded(cluster: &Cluster, epoch: u64) {
    let wait = async { while cluster.office().await.1 <= epoch {} };
    tokio::time::timeout(PATIENCE, wait).await.expect("another primary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failovers_of_three_lose_nothing_that_was_acknowledged() {
    fail_over_again_and_again(3, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failovers_of_two_lose_nothing_that_was_acknowledged() {
    fail_over_again_and_again(2, 8).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_hundred_failovers_of_three_lose_nothing_that_was_acknowledged() {
    fail_over_again_and_again(3, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_hundred_failovers_of_two_lose_nothing_that_was_acknowledged() {
    fail_over_again_and_again(2, 100).await;
}
