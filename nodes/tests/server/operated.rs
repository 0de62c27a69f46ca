//! `quorate ctl`, as people type it.

use serde_json::json;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_for_keys_and_shards_does_what_it_says() {
    let cluster = Cluster::start(3).await;
    cluster.join_through(0, "g2").await;
    assert_eq!(cluster.ask(&["put", "greeting", "hello"]), json!({ "outcome": "done" }));
    cluster.ask(&["append", "greeting", " world"]);
    assert_eq!(cluster.ask(&["get", "greeting"])["value"], "hello world");
    assert_eq!(cluster.ask(&["get", "greeting", "--max-staleness", "60000"])["value"], "hello world");
    cluster.ask(&["cas", "greeting", "hello world", "7"]);
    assert!(cluster.refuse(&["cas", "greeting", "hello world", "8"]).contains("nothing changed"));
    assert!(cluster.refuse(&["cas", "missing", "1", "2"]).contains("no such key"));
    cluster.ask(&["cas", "missing", "1", "2", "--create"]);
    let scanned = cluster.ask(&["scan", "--limit", "10"]);
    assert_eq!(scanned["items"], json!({ "greeting": 7, "missing": 2 }));
    cluster.ask(&["delete", "missing"]);
    assert!(cluster.refuse(&["delete", "missing"]).contains("no such key"));
    assert!(cluster.refuse(&["get", "missing"]).contains("no such key"));

    let config = cluster.ask(&["config"]);
    let first = config["shards"][0].as_str().expect("a group").to_owned();
    let other = if first == "g1" { "g2" } else { "g1" };
    let number = config["number"].as_u64().expect("a number");
    assert_eq!(cluster.ask(&["move", "0", other])["number"], json!(number + 1));
    assert_eq!(cluster.ask(&["transfer", "g1", "3"]), json!({ "leader": 3 }));
    assert_eq!(cluster.ask(&["leave", "g2"])["number"], json!(number + 2));
    assert_eq!(cluster.ask(&["get", "greeting"])["value"], json!(7), "after its shard moved");
    assert!(cluster.ctl(&["snapshot", "g1"]).status.success());
    let status = cluster.ask(&["status"]);
    assert_eq!(status.as_array().map(Vec::len), Some(3), "{status}");
    assert!(cluster.ctl(&["status"]).status.success() && cluster.ctl(&["config"]).status.success());
    assert!(cluster.refuse(&["get"]).contains("<KEY>"));
}
