//! The network between all nodes loses a tenth of the requests and a tenth of the replies, and delays the rest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_tests::checker::kv::{StringAnswer, StringOp, Strings};
use quorate_tests::checker::{Keyed, Limits, Verdict, check};
use quorate_tests::history::History;
use rand::RngExt;

use crate::common::{Appenders, Client, Cluster, Expected, Setup, keys, pause, text};

async fn start() -> (Cluster, Expected) {
    let cluster = Setup::groups(3).snapshots_at(100).unreliable().start().await;
    cluster.join([0]).await;
    let mut rng = cluster.seed.rng(1);
    let expected = keys().into_iter().map(|key| (key, text(&mut rng, 5))).collect();
    cluster.put_all(&expected).await;
    (cluster, expected)
}

/// Groups join and leave while clients work.
async fn joins_and_leaves(cluster: &Cluster) {
    pause(150).await;
    cluster.join([1]).await;
    pause(500).await;
    cluster.join([2]).await;
    pause(500).await;
    cluster.leave([0]).await;
    pause(500).await;
    cluster.leave([1]).await;
    pause(500).await;
    cluster.join([1]).await;
    cluster.join([0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_each_append_takes_effect_once() {
    let (cluster, mut expected) = start().await;
    cluster.join([1]).await;
    cluster.join([2]).await;
    cluster.leave([0]).await;
    let (client, keys) = (cluster.client(), keys());
    let mut rng = cluster.seed.rng(2);
    for round in 0..20 {
        let key = &keys[round % keys.len()];
        let value = expected.get_mut(key).expect("all keys were put");
        client.check(key, value).await;
        let more = text(&mut rng, 5);
        client.append(key, &more).await;
        value.push_str(&more);
    }
    cluster.join([0]).await;
    cluster.leave([1]).await;
    for round in 0..20 {
        let key = &keys[round % keys.len()];
        client.check(key, &expected[key]).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_concurrent_appends_survive_joins_and_leaves() {
    let (cluster, expected) = start().await;
    let load = Appenders::start(expected, || cluster.client(), &cluster.seed, Duration::ZERO);
    joins_and_leaves(&cluster).await;
    load.progress(3).await;
    cluster.network().clear_faults();
    cluster.check_all(&load.stop().await).await;
    cluster.quiet([0, 1, 2]).await;
    cluster.check_logs([0, 1, 2]).await;
    cluster.end().await;
}

/// A client that does random things to random keys until it is stopped.
async fn random_client(
    (client, mut rng): (Client, rand::rngs::SmallRng),
    process: u64,
    history: History<Keyed<StringOp>, StringAnswer>,
    stop: Arc<AtomicBool>,
) {
    let keys = keys();
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[rng.random_range(0..keys.len())];
        let value = text(&mut rng, 5);
        let op = match rng.random_range(0..100) {
            0..50 => StringOp::Append(value.clone()),
            50..55 => StringOp::Put(value.clone()),
            _ => StringOp::Get,
        };
        let call = history.invoke(process, Keyed::new(&**key, op.clone()));
        let answer = match op {
            StringOp::Get => StringAnswer::Value(client.get(key).await),
            StringOp::Put(value) => {
                client.put(key, &value).await;
                StringAnswer::Done
            }
            StringOp::Append(value) => {
                client.append(key, &value).await;
                StringAnswer::Done
            }
        };
        call.ok(answer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_an_unreliable_network_the_whole_store_is_linearizable_per_key_across_moves() {
    let cluster = Setup::groups(3).snapshots_at(100).unreliable().start().await;
    cluster.join([0]).await;
    let (history, stop) = (History::new(), Arc::<AtomicBool>::default());
    let clients: Vec<_> = (0..10)
        .map(|process| {
            let client = (cluster.client(), cluster.seed.rng(100 + process));
            tokio::spawn(random_client(client, process, history.clone(), Arc::clone(&stop)))
        })
        .collect();
    joins_and_leaves(&cluster).await;
    pause(1000).await;
    stop.store(true, Ordering::Relaxed);
    cluster.network().clear_faults();
    for client in clients {
        client.await.expect("a client has failed");
    }
    cluster.end().await;
    let operations = history.operations();
    assert!(operations.len() > 50, "only {} operations", operations.len());
    let verdict = check(&Strings, &operations, Limits::default());
    if let Verdict::NotLinearizable(counterexample) = &verdict {
        panic!("{}", counterexample.describe(&operations));
    }
    assert!(verdict.is_linearizable(), "{} operations: {verdict}", operations.len());
}
