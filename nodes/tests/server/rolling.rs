//! Nodes are ended and started one after the other, and clients notice nothing but a pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_nodes::server::proto::change_request::Change;

use crate::cluster::{Cluster, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call() {
    let mut cluster = Cluster::start(3).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|nth| {
            let (client, stop) = (cluster.client(), Arc::clone(&stop));
            tokio::spawn(async move {
                let (key, mut number) = (format!("key{nth}"), 0u64);
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    let put = Change::Put(number.to_string());
                    client.change(&key, put, PATIENCE).await.expect("a call that a restart must not fail");
                    let reply = client.get(&key, None, PATIENCE).await.expect("a read that a restart must not fail");
                    assert_eq!(reply.value, Some(number.to_string()));
                }
                number
            })
        })
        .collect();
    let observer = cluster.client();
    for nth in 0..3 {
        cluster.terminate(nth).await;
        cluster.spawn(nth);
        // It answers again before the next one goes.
        let client = quorate_nodes::server::Client::new([cluster.address(nth)]).expect("a client");
        client.get("key0", None, PATIENCE).await.expect("the node serves again");
        observer.change("turn", Change::Put(nth.to_string()), PATIENCE).await.expect("a write");
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        assert!(writer.await.expect("a writer whose calls all came through") > 0);
    }
}
