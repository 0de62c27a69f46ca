//! How a server ends: because it is told to, or because it cannot go on.

use crate::cluster::{Cluster, eventually};
use crate::writers::Writers;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ends_with_its_input_ends_well_by_a_signal_too_while_its_input_stays_open() {
    let mut cluster = Cluster::described(1);
    cluster.flags = vec!["--until-input-ends".into()];
    cluster.spawn_with_input(0);
    cluster.join_through(0, "g1").await;
    cluster.terminate(0).await;

    cluster.spawn_with_input(0);
    let serves = || async { cluster.client().configuration(std::time::Duration::from_secs(1)).await.is_ok() };
    eventually("it serves again", serves).await;
    cluster.end_input(0);
    let status = cluster.ended(0).await;
    assert!(status.success(), "{status}\n{}", cluster.log(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_log_fails_says_so_and_ends_and_has_everything_acknowledged_when_it_is_back() {
    let mut cluster = Cluster::described(1);
    cluster.spawn_breakable(0);
    cluster.join_through(0, "g1").await;
    let writers = Writers::start(&cluster);
    writers.progress().await;
    cluster.break_disk(0);
    let status = cluster.ended(0).await;
    assert_eq!(status.code(), Some(1), "{status}\n{}", cluster.log(0));
    // What it said may still be on its way from the pipe to the file.
    eventually("it says why", || async {
        cluster.log(0).lines().any(|line| line.starts_with("quorate: ") && line.contains("File too large"))
    })
    .await;

    cluster.spawn(0);
    writers.progress().await;
    let told = writers.stop().await;
    told.check(&cluster.client()).await;
}
