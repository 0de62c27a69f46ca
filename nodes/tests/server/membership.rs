//! Nodes come and go while the cluster serves.

use serde_json::{Value, json};

use quorate_nodes::server::proto::change_request::Change;

use crate::cluster::{Cluster, PATIENCE, eventually};
use crate::writers::Writers;

/// Puts `new`, which is started and unknown so far, in the place of `old`.
fn replace(cluster: &Cluster, old: usize, new: usize, more: &[&str]) {
    let (old, id, at) = ((old + 1).to_string(), (new + 1).to_string(), cluster.addresses_of(new));
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let said = cluster.ask(&[&["replace-node", &old, &id], &at[..], &["--wait", "120"], more].concat());
    assert_eq!(said["done"], json!(true), "{said}");
}

/// For each group, who replicates it.
fn voters(cluster: &Cluster) -> Vec<(String, Value)> {
    let nodes = cluster.ask(&["nodes"]);
    let groups = nodes["groups"].as_array().expect("groups").iter();
    groups.map(|group| (group["group"].as_str().expect("a name").to_owned(), group["voters"].clone())).collect()
}

/// Whether none of these has node 2 among its peers.
async fn forgotten_by(cluster: &Cluster, nodes: &[usize]) -> bool {
    for nth in nodes {
        let status = cluster.status(*nth).await.expect("it answers");
        if status.peers.iter().any(|peer| peer.node == 2) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_is_replaced_in_one_command_under_load_and_never_comes_back() {
    let mut cluster = Cluster::start(3).await;
    let writers = Writers::start(&cluster);
    writers.progress().await;
    assert!(cluster.refuse(&["remove-node", "2"]).contains("replicates"), "it is needed");
    cluster.kill(1);
    let new = cluster.describe_another();
    let at = cluster.addresses_of(new);
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let early = cluster.ask(&[&["replace-node", "2", "4", "--wait", "0"], &at[..]].concat());
    assert_eq!(early["done"], json!(false), "nobody is there yet");
    cluster.spawn(new);
    replace(&cluster, 1, new, &["--remove"]);
    assert_eq!(voters(&cluster), ["controller", "g1"].map(|group| (group.to_owned(), json!([1, 3, 4]))));

    // Its id is used up, and its vote is not missed: another one may die now.
    let at = cluster.addresses_of(1);
    let at: Vec<&str> = at.iter().map(String::as_str).collect();
    let refusal = cluster.refuse(&[&["add-node", "--id", "2"], &at[..]].concat());
    assert!(refusal.contains("never used again"), "{refusal}");
    writers.progress().await;
    cluster.kill(0);
    writers.progress().await;

    // It comes back with what it knew, and nobody listens: no message of it can raise a term.
    let others = [2, new];
    eventually("the others have nothing more to do with it", || forgotten_by(&cluster, &others)).await;
    cluster.spawn(1);
    eventually("it is refused", || async { cluster.log(1).contains("refused: n2 was removed from the cluster") }).await;
    writers.progress().await;
    assert!(forgotten_by(&cluster, &others).await);
    let told = writers.stop().await;
    told.check(&cluster.client()).await;
    assert_eq!(cluster.ask(&["nodes"])["removed"], json!([2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_were_told_of_each_other_find_each_other_again_whatever_their_files_say() {
    let mut cluster = Cluster::start(3).await;
    let writers = Writers::start(&cluster);
    writers.progress().await;
    // While the replaced ones live: leaders among them hand over first.
    let new = [cluster.describe_another(), cluster.describe_another()];
    for (old, new) in [(0, new[0]), (1, new[1])] {
        cluster.spawn(new);
        replace(&cluster, old, new, &[]);
    }
    let told = writers.stop().await;
    for old in [0, 1] {
        let dropped = || async { cluster.status(old).await.is_some_and(|status| status.replicas.is_empty()) };
        eventually("a replaced node has dropped its replicas", dropped).await;
    }

    // The files of the first nodes know neither of the new ones, and theirs do not know each other.
    for nth in 0..5 {
        cluster.kill(nth);
    }
    for nth in 2..5 {
        cluster.spawn(nth);
    }
    told.check(&cluster.client()).await;
    assert_eq!(voters(&cluster), ["controller", "g1"].map(|group| (group.to_owned(), json!([3, 4, 5]))));

    // Those that made the groups once do not make them again.
    for nth in [0, 1] {
        cluster.spawn(nth);
    }
    let client = cluster.client();
    client.change("after", Change::Put("1".into()), PATIENCE).await.expect("a write");
    for nth in [0, 1] {
        let own = quorate_nodes::server::Client::new([cluster.address(nth)]).expect("a client");
        let read = own.get("after", None, PATIENCE).await.expect("it has caught up with the configuration log");
        assert_eq!(read.value.as_deref(), Some("1"));
        let replicas = cluster.status(nth).await.expect("it answers").replicas;
        assert!(replicas.is_empty(), "node {} replicates {replicas:?}", nth + 1);
    }
    for id in ["1", "2"] {
        cluster.ask(&["remove-node", id]);
        cluster.ended(id.parse::<usize>().expect("a number") - 1).await;
    }
    assert_eq!(cluster.ask(&["nodes"])["nodes"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_placed_on_more_nodes_and_on_fewer() {
    let mut cluster = Cluster::start(1).await;
    for _ in 0..2 {
        let new = cluster.describe_another();
        cluster.spawn(new);
        let (id, at) = ((new + 1).to_string(), cluster.addresses_of(new));
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        cluster.ask(&[&["add-node", "--id", &id], &at[..]].concat());
    }
    let client = cluster.client();
    client.change("key", Change::Put("1".into()), PATIENCE).await.expect("a write");
    let place = |group: &str| assert_eq!(cluster.ask(&["place", group, "--wait", "120"])["done"], json!(true));
    place("g1=1,2,3");
    place("controller=1,2,3");
    cluster.kill(0);
    assert_eq!(client.get("key", None, PATIENCE).await.expect("an answer").value.as_deref(), Some("1"));
    cluster.spawn(0);
    let place = |group: &str| assert_eq!(cluster.ask(&["place", group, "--wait", "120"])["done"], json!(true));
    place("g1=2");
    place("controller=3");
    assert_eq!(voters(&cluster), [("controller".to_owned(), json!([3])), ("g1".to_owned(), json!([2]))]);
    assert_eq!(client.get("key", None, PATIENCE).await.expect("an answer").value.as_deref(), Some("1"));
    assert!(cluster.refuse(&["place", "g1=9"]).contains("none of the cluster's nodes"));
}
