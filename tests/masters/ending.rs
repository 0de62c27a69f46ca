//! A process with masters can end: nothing of theirs keeps a runtime alive, whatever they were doing.

use std::sync::mpsc;
use std::time::Duration;

use quorate_nodes::services::master::Command;
use quorate_nodes::stdio::FaultAction;

use crate::cluster::{Cluster, PATIENCE};
use quorate_harness::seed::Seed;

/// Runs masters until `end` is done with them, and waits for the end of their runtime.
fn ends(count: usize, end: impl AsyncFnOnce(&Cluster) + Send + 'static) {
    let number = Seed::of("masters").number();
    let (sender, receiver) = mpsc::channel();
    // Not in this thread: a runtime whose task never pauses waits for it for ever.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(async {
            let cluster = Cluster::start(count, number, Duration::from_millis(500)).await;
            cluster.insist("observer", Command::ShadowStatus).await.expect("a primary");
            end(&cluster).await;
        });
        drop(runtime);
        _ = sender.send(());
    });
    receiver.recv_timeout(PATIENCE).expect("the runtime ends");
}

#[test]
fn a_runtime_whose_masters_were_shut_down_ends() {
    ends(3, async |cluster| cluster.masters.shutdown().await);
}

#[test]
fn a_runtime_whose_masters_still_serve_ends() {
    ends(3, async |_| {});
}

#[test]
fn a_runtime_whose_masters_are_dead_or_waiting_for_the_other_ends() {
    ends(2, async |cluster| {
        let primary = cluster.office().await.0;
        cluster.fault(&primary, FaultAction::Stop).await;
        cluster.masters.shutdown().await;
    });
}
