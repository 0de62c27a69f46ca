//! A group that lost its quorum goes on with what one node has, if the operator says so.

use std::process::Output;
use std::time::Duration;

use quorate_nodes::server::proto::change_request::Change;
use serde_json::json;

use crate::cluster::{Cluster, PATIENCE, eventually};

fn recover(cluster: &Cluster, nth: usize, group: &str, flags: &[&str]) -> Output {
    let mut command = cluster.command_for("recover", nth);
    command.arg("--group").arg(group).args(flags).output().expect("it runs")
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_changes_nothing_unless_it_is_accepted_and_then_serves_what_the_replica_had() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.client();
    for nth in 0..20 {
        client.change(&format!("key{nth}"), Change::Put(nth.to_string()), PATIENCE).await.expect("a write");
    }
    let running = recover(&cluster, 0, "g1", &["--accept-data-loss"]);
    assert!(!running.status.success() && said(&running).contains("in use"), "{}", said(&running));
    let caught_up = || async {
        let status = cluster.status(0).await.expect("it answers");
        let ends = |status: &quorate_nodes::server::proto::StatusReply| {
            status.replicas.iter().map(|replica| (replica.group.clone(), replica.last)).collect::<Vec<_>>()
        };
        let others = [cluster.status(1).await, cluster.status(2).await];
        others.iter().flatten().all(|other| ends(other) == ends(&status))
    };
    eventually("node 1 has what the others have", caught_up).await;
    for nth in 0..3 {
        cluster.kill(nth);
    }

    // Without the flag: told, refused, and nothing is other than before.
    let first = recover(&cluster, 0, "g1", &[]);
    let text = said(&first);
    assert!(!first.status.success() && text.contains("nothing was changed"), "{text}");
    for told in ["n1, n2, n3", "last entry", "is lost", "not known to be committed"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert_eq!(said(&recover(&cluster, 0, "g1", &[])), text);
    let nothing = recover(&cluster, 0, "g7", &[]);
    assert!(said(&nothing).contains("nothing of group g7"), "{}", said(&nothing));
    for nth in 0..2 {
        cluster.spawn(nth);
    }
    client.change("key1", Change::Put("\"two of three\"".into()), PATIENCE).await.expect("the quorum is as it was");
    for nth in 0..2 {
        cluster.kill(nth);
    }

    // Nodes 2 and 3 are lost for good.
    for group in ["g1", "controller"] {
        let done = recover(&cluster, 0, group, &["--accept-data-loss"]);
        assert!(done.status.success(), "{}", said(&done));
        let again = recover(&cluster, 0, group, &["--accept-data-loss"]);
        assert!(again.status.success() && said(&again).contains("only voter already"), "{}", said(&again));
    }
    cluster.spawn(0);
    for nth in (0..20).filter(|nth| *nth != 1) {
        let read = client.get(&format!("key{nth}"), None, PATIENCE).await.expect("an answer");
        assert_eq!(read.value, Some(nth.to_string()));
    }
    let read = client.get("key1", None, PATIENCE).await.expect("an answer");
    assert_eq!(read.value.as_deref(), Some("\"two of three\""));

    // New nodes take the places of the lost ones, and then the recovered one is not needed any more.
    for (old, id) in [("2", "4"), ("3", "5")] {
        let new = cluster.describe_another();
        cluster.spawn(new);
        let at = cluster.addresses_of(new);
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        let replaced = cluster.ask(&[&["replace-node", old, id], &at[..], &["--remove", "--wait", "120"]].concat());
        assert_eq!(replaced["done"], json!(true));
    }
    cluster.kill(0);
    let client = cluster.client();
    client.change("key0", Change::Put("\"again\"".into()), PATIENCE).await.expect("two of three");
    let read = client.get("key19", Some(Duration::from_secs(60)), PATIENCE).await.expect("an answer");
    assert_eq!(read.value.as_deref(), Some("19"));
}
