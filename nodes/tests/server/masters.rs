//! Masters as processes: killed, handed over, alone, and what their clients and subscribers are told meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_nodes::server::{ClientTls, MasterError, MastersClient, MastersConfig};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::backup::{backup, restore, said};
use crate::cluster::{Cluster, PATIENCE, eventually, free_addresses};

const CALL: Duration = Duration::from_secs(20);

/// Three nodes, some of which are masters, that do not run.
fn described(number: u64, masters: &[u64]) -> Cluster {
    let mut cluster = Cluster::numbered(number, 3);
    cluster.reconfigure(|config| {
        config.masters =
            Some(MastersConfig { nodes: masters.to_vec(), failure_timeout_ms: Some(1000), ..MastersConfig::default() });
    });
    cluster
}

/// The same, running, with a path.
async fn start(masters: &[u64]) -> Cluster {
    let mut cluster = described(17, masters);
    (0..3).for_each(|nth| cluster.spawn(nth));
    let client = client(&cluster, "first");
    client.call(json!({ "type": "create", "path": "/first" }), PATIENCE).await.expect("a primary");
    cluster
}

fn client(cluster: &Cluster, name: &str) -> MastersClient {
    MastersClient::new(name, cluster.addresses(), &ClientTls::default()).expect("a client")
}

/// The primary's place among the nodes.
fn primary(cluster: &Cluster) -> usize {
    let masters = cluster.ask(&["masters"]);
    let named = masters["masters"].as_array().expect("masters").iter().find(|one| one["name"] == masters["primary"]);
    named.expect("a primary")["node"].as_u64().expect("its node") as usize - 1
}

/// Paths that were created, and those that may have been.
#[derive(Default)]
struct Created {
    acknowledged: Vec<String>,
    unknown: Vec<String>,
}

/// Creates one path after the other until told to stop.
async fn create(client: MastersClient, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>, writer: usize) -> Created {
    let mut created = Created::default();
    for nth in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let path = format!("/w{writer}/{nth}");
        match client.call(json!({ "type": "create", "path": path }), CALL).await {
            Ok(_) => {
                created.acknowledged.push(path);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(MasterError::Unknown(_)) => created.unknown.push(path),
            Err(MasterError::Unavailable(_)) => {}
            Err(MasterError::Refused(error)) => panic!("{path}: {error}"),
        }
    }
    created
}

/// Every path that there is.
async fn list(client: &MastersClient) -> Vec<String> {
    let answer = client.call(json!({ "type": "list", "prefix": "/w" }), PATIENCE).await.expect("a list");
    answer["paths"].as_array().expect("paths").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn told(changes: &mut quorate_nodes::server::PrimaryChanges) -> (u64, String) {
    let primary = tokio::time::timeout(PATIENCE, changes.next()).await.expect("soon").expect("a primary");
    (primary.epoch, primary.name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_killed_under_load_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = start(&[1, 2, 3]).await;
    let observer = client(&cluster, "observer");
    let mut changes = observer.watch().await;
    let (mut epoch, _) = told(&mut changes).await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writers: Vec<JoinHandle<Created>> = (0..2)
        .map(|nth| {
            let client = client(&cluster, &format!("writer{nth}"));
            tokio::spawn(create(client, Arc::clone(&stop), Arc::clone(&done), nth))
        })
        .collect();
    for _ in 0..2 {
        let before = done.load(Ordering::Relaxed);
        eventually("paths are created", || async { done.load(Ordering::Relaxed) >= before + 5 }).await;
        let victim = primary(&cluster);
        cluster.kill(victim);
        // One of the others says that it is the primary, and each epoch is told once.
        loop {
            let (next, name) = told(&mut changes).await;
            assert!(next > epoch, "epoch {next} was told after {epoch}");
            epoch = next;
            if name != format!("n{}", victim + 1) {
                break;
            }
        }
        cluster.spawn(victim);
    }
    let before = done.load(Ordering::Relaxed);
    eventually("paths are created again", || async { done.load(Ordering::Relaxed) >= before + 5 }).await;
    stop.store(true, Ordering::Relaxed);
    let mut created = Created::default();
    for writer in writers {
        let one = writer.await.expect("a writer");
        created.acknowledged.extend(one.acknowledged);
        created.unknown.extend(one.unknown);
    }
    let there = list(&observer).await;
    for path in &created.acknowledged {
        assert!(there.contains(path), "{path} was acknowledged and is lost");
    }
    for path in &there {
        assert!(created.acknowledged.contains(path) || created.unknown.contains(path), "{path} was refused");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_masters_the_shadow_goes_on_alone_and_the_other_becomes_its_shadow() {
    let mut cluster = start(&[1, 2]).await;
    let observer = client(&cluster, "observer");
    let victim = primary(&cluster);
    let (dead, survivor) = (format!("n{}", victim + 1), format!("n{}", 2 - victim));
    cluster.kill(victim);
    observer.call(json!({ "type": "create", "path": "/alone" }), PATIENCE).await.expect("the other one serves");
    assert_eq!(cluster.ask(&["masters"])["primary"], survivor.as_str());
    cluster.spawn(victim);
    eventually("the other one is a shadow again", || async {
        let output = cluster.ctl(&["--json", "masters"]);
        let masters: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let mut all = masters["masters"].as_array().into_iter().flatten();
        all.any(|one| one["name"] == dead.as_str() && one["role"] == "shadow" && one["wal_lag_entries"] == 0)
    })
    .await;
    // It has its vote back: both are needed for this.
    eventually("it can be the primary", || async { cluster.ctl(&["failover", "--to", &dead]).status.success() }).await;
    assert_eq!(cluster.ask(&["masters"])["primary"], dead.as_str());
    let answer = observer.call(json!({ "type": "list", "prefix": "/" }), PATIENCE).await.expect("a list");
    assert_eq!(answer["paths"], json!(["/alone", "/first"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_answer_in_the_protocols_words_and_operators_can_hand_over() {
    let mut cluster = start(&[1, 2, 3]).await;
    let chunks = client(&cluster, "chunks1");
    let ask = async |body: Value| chunks.call(body, PATIENCE).await;
    let registered = ask(json!({ "type": "register_chunkserver", "capacity": 10 })).await.expect("it registers");
    assert_eq!(registered["server"], "chunks1");
    let allocated = ask(json!({ "type": "allocate_chunk", "path": "/first", "replicas": 1 })).await.expect("a chunk");
    assert_eq!(allocated["servers"], json!(["chunks1"]));
    let exists = ask(json!({ "type": "create", "path": "/first" })).await.expect_err("it is there");
    assert_eq!(exists.code(), 21);
    let malformed = ask(json!({ "type": "create" })).await.expect_err("no path");
    assert_eq!(malformed.code(), 12);

    let before = cluster.ask(&["masters"]);
    let next = before["masters"].as_array().expect("masters").iter().find(|one| one["role"] == "shadow");
    let next = next.expect("a shadow")["name"].as_str().expect("a name").to_owned();
    assert_eq!(cluster.ask(&["failover", "--to", &next])["primary"], next.as_str());
    let after = cluster.ask(&["masters"]);
    assert_eq!(after["primary"], next.as_str());
    assert!(cluster.refuse(&["failover", "--to", &next]).contains("already"));
    let beat = ask(json!({ "type": "heartbeat", "chunks": [{ "id": allocated["chunk"], "version": 1 }] })).await;
    assert_eq!(beat.expect("an answer")["primary"], next.as_str());

    // Their nodes are chosen once.
    cluster.terminate(0).await;
    cluster
        .reconfigure(|config| config.masters = Some(MastersConfig { nodes: vec![1, 2], ..MastersConfig::default() }));
    let output = cluster.run(0, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("chosen once"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_has_the_masters_paths() {
    let old = start(&[1, 2, 3]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("backup");
    let made = backup(&old, &kept);
    assert!(made.status.success(), "{}", said(&made));
    drop(old);

    let mut other = described(18, &[1, 2]);
    let refused = said(&restore(&other, 0, &kept));
    assert!(refused.contains("no group masters on nodes [1, 2, 3]"), "{refused}");
    other = described(18, &[1, 2, 3]);
    for nth in 0..3 {
        let restored = restore(&other, nth, &kept);
        assert!(restored.status.success(), "{}", said(&restored));
        other.spawn(nth);
    }
    let answer = client(&other, "reader").call(json!({ "type": "stat", "path": "/first" }), PATIENCE).await;
    assert_eq!(answer.expect("it is there")["path"], "/first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_masters_states_are_compared_also_after_another_one_has_taken_over() {
    let mut cluster = described(17, &[1, 2, 3]);
    cluster.reconfigure(|config| {
        config.compare_every_s = Some(1);
        for (node, http) in config.nodes.iter_mut().zip(free_addresses(3)) {
            node.http = Some(http);
        }
    });
    (0..3).for_each(|nth| cluster.spawn(nth));
    let client = client(&cluster, "client");
    let (paths, last) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for _ in 0..2 {
        let rises = AtomicUsize::new(0);
        // More often than the other groups of the cluster are compared, in which nothing happens.
        eventually("masters are found to be the same, again and again", || async {
            let path = format!("/{}", paths.fetch_add(1, Ordering::Relaxed));
            client.call(json!({ "type": "create", "path": path }), PATIENCE).await.expect("a primary");
            let found = same_found(&cluster).await;
            if last.swap(found, Ordering::Relaxed) < found {
                rises.fetch_add(1, Ordering::Relaxed);
            }
            rises.load(Ordering::Relaxed) >= 4
        })
        .await;
        cluster.ask(&["failover"]);
    }
    for nth in 0..3 {
        assert!(!cluster.metrics(nth).await.expect("metrics").contains(r#"outcome="differ""#));
    }
}

/// How often all nodes together have found states to be the same.
async fn same_found(cluster: &Cluster) -> usize {
    let mut found = 0;
    for nth in 0..3 {
        let metrics = cluster.metrics(nth).await.unwrap_or_default();
        let line = metrics.lines().find(|line| line.starts_with(r#"quorate_comparisons_total{outcome="same"}"#));
        found += line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).unwrap_or_default();
    }
    found
}
