//! Two masters: one goes on alone, the other waits; never both.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_harness::seed::Seed;
use quorate_nodes::stdio::FaultAction;
use quorate_statemachines::master::MasterOp;
use rand::RngExt;

use super::cluster::{Cluster, change, eventually, path};
use super::load::Load;

/// Long enough that no operator's word comes too late.
const NEVER: Duration = Duration::from_secs(3600);

const SOON: Duration = Duration::from_millis(500);

fn other(name: &str) -> &'static str {
    if name == "n1" { "n2" } else { "n1" }
}

async fn create(cluster: &Cluster, text: &str) {
    let create = change(MasterOp::Create { path: path(text) }, None);
    // A lost answer is asked for again without a number: then it is there already.
    if let Err(error) = cluster.insist("c", create).await {
        assert_eq!(error.code.number(), 21, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shadow_goes_on_alone_on_the_operators_word_and_takes_the_other_in_again() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(2, seed.number(), NEVER).await;
    for round in 0..4 {
        create(&cluster, &format!("/before/{round}")).await;
        let (primary, epoch) = cluster.office().await;
        cluster.fault(&primary, FaultAction::Stop).await;
        let reply = cluster.fail_over(other(&primary), &primary, None).await.expect("the other one takes over");
        assert_eq!(reply.get("new_primary"), Some(other(&primary).into()));
        let (now, next) = cluster.office().await;
        assert_eq!((now.as_str(), next), (other(&primary), epoch + 1));
        create(&cluster, &format!("/alone/{round}")).await;
        cluster.fault(&primary, FaultAction::Start).await;
        cluster.whole().await;
    }
    assert_eq!(cluster.paths().await.len(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_primary_is_replaced_without_being_asked() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(2, seed.number(), SOON).await;
    for action in [(FaultAction::Stop, FaultAction::Start), (FaultAction::Isolate, FaultAction::Heal)] {
        let (primary, epoch) = cluster.office().await;
        cluster.fault(&primary, action.0).await;
        eventually("the other one serves", || async {
            let (now, next) = cluster.office().await;
            now == other(&primary) && next > epoch
        })
        .await;
        cluster.fault(&primary, action.1).await;
        cluster.whole().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_have_been_left_behind_waits() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(2, seed.number(), SOON).await;
    create(&cluster, "/together").await;
    let primary = cluster.primary().await;
    let shadow = other(&primary);
    cluster.fault(&primary, FaultAction::Stop).await;
    eventually("the other one serves", || async { cluster.primary().await == shadow }).await;
    create(&cluster, "/alone").await;
    // Now the one that knows of it dies, and the one that does not comes back.
    cluster.fault(shadow, FaultAction::Stop).await;
    cluster.fault(&primary, FaultAction::Start).await;
    for _ in 0..3 {
        let refused = cluster.fail_over(&primary, shadow, None).await.expect_err("it is the one to wait");
        assert_eq!(refused.reason.as_deref(), Some("must_wait"), "{refused}");
        let asked = change(MasterOp::Create { path: path("/never") }, None);
        let refused = cluster.ask(&primary, "c", asked, SOON).await.expect_err("nobody serves");
        assert!(refused.code.is_definite() || refused.code.number() == 0, "{refused}");
        tokio::time::sleep(SOON).await;
    }
    cluster.fault(shadow, FaultAction::Start).await;
    assert_eq!(cluster.primary().await, shadow);
    cluster.whole().await;
    assert_eq!(cluster.paths().await, ["/alone", "/together"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_restart_in_any_order_and_nothing_is_lost() {
    let seed = Seed::of("masters");
    let cluster = Cluster::start(2, seed.number(), SOON).await;
    let mut paths = BTreeSet::new();
    for first_down_is_primary in [true, false] {
        for first_up_is_primary in [true, false] {
            let name = format!("/{first_down_is_primary}/{first_up_is_primary}");
            create(&cluster, &name).await;
            paths.insert(name);
            let primary = cluster.primary().await;
            let order = |primary_first| match primary_first {
                true => [primary.as_str(), other(&primary)],
                false => [other(&primary), primary.as_str()],
            };
            for name in order(first_down_is_primary) {
                cluster.fault(name, FaultAction::Stop).await;
            }
            for name in order(first_up_is_primary) {
                cluster.fault(name, FaultAction::Start).await;
            }
            cluster.whole().await;
        }
    }
    assert_eq!(cluster.paths().await.into_iter().collect::<BTreeSet<_>>(), paths);
}

/// Each master has clients of its own. Both acknowledge only if one of them did so alone, and then something is lost
/// when they meet again.
async fn part_again_and_again(rounds: usize) {
    let seed = Seed::of("masters");
    let mut rng = seed.rng(0);
    let cluster = Cluster::start(2, seed.number(), Duration::from_millis(300)).await;
    cluster.insist("watcher", change(MasterOp::Subscribe { who: "watcher".into() }, None)).await.expect("subscribed");
    let load = Load::faithful(&cluster, 2);
    for _ in 0..rounds {
        load.goes_on(20).await;
        let (primary, epoch) = cluster.office().await;
        let cut = if rng.random_bool(0.5) { primary.as_str() } else { other(&primary) };
        cluster.fault(cut, FaultAction::Isolate).await;
        match rng.random_range(0..3) {
            0 => {}
            1 => _ = cluster.fail_over(other(&primary), &primary, None).await,
            _ => {
                cluster.fault(&primary, FaultAction::Stop).await;
                tokio::time::sleep(Duration::from_millis(rng.random_range(0..400))).await;
                cluster.fault(&primary, FaultAction::Start).await;
            }
        }
        eventually("the shadow has gone on alone", || async { cluster.office().await.1 > epoch }).await;
        load.goes_on(20).await;
        cluster.fault(cut, FaultAction::Heal).await;
        cluster.whole().await;
    }
    load.goes_on(20).await;
    let acknowledged = load.stop().await;
    let found: BTreeSet<String> = cluster.paths().await.into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    cluster.check_told(&["watcher"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parted_pair_never_has_two_primaries_that_acknowledge() {
    part_again_and_again(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_pair_parted_fifty_times_never_has_two_primaries_that_acknowledge() {
    part_again_and_again(50).await;
}
