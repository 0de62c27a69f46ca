//! What a server refuses to start on, and says so.

use crate::cluster::Cluster;

#[test]
fn a_node_without_data_that_is_not_said_to_be_new_does_not_start() {
    let cluster = Cluster::described(3);
    let output = cluster.run(0, &[]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("--init"), "{text}");
    assert!(!cluster.data(0).exists(), "nothing was made");
}

#[tokio::test]
async fn a_data_directory_serves_one_node_and_one_process() {
    let cluster = Cluster::start(1).await;
    let again = cluster.run(0, &[]);
    let text = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && text.contains("in use"), "{text}");
    let mut cluster = cluster;
    cluster.kill(0);
    let text = std::fs::read_to_string(cluster.dir().join("quorate.toml")).expect("the file");
    std::fs::write(cluster.dir().join("quorate.toml"), text.replace("cluster = 17", "cluster = 18")).expect("a file");
    let other = cluster.run(0, &[]);
    let text = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && text.contains("node 1 of cluster 17"), "{text}");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let cluster = Cluster::described(1);
    std::fs::write(cluster.dir().join("quorate.toml"), "cluster = \"seventeen\"").expect("a file");
    let output = cluster.run(0, &["--init"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("quorate.toml"), "{text}");
}

#[tokio::test]
async fn a_log_for_programs_is_an_object_a_line() {
    let mut cluster = Cluster::described(1);
    cluster.flags = vec!["--log".into(), "json".into()];
    cluster.spawn(0);
    cluster.join_through(0, "g1").await;
    cluster.terminate(0).await;
    let log = cluster.log(0);
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert!(lines.iter().any(|line| line["message"] == "ready" && line["level"] == "INFO"), "{log}");
}
