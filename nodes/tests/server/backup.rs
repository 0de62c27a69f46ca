//! Backups: made under load, restored as another cluster.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use quorate::StateMachine;
use quorate::snapshot::{SnapshotReader, SnapshotView, edited};
use quorate_nodes::server::proto::change_request::Change;
use quorate_nodes::server::proto::quorate_client::QuorateClient;
use quorate_nodes::server::proto::{ChangeRequest, MoveRequest, Session};
use quorate_statemachines::kv::{KvAnswer, KvMachine, KvQuery, ShardState};
use serde_json::{Value, json};

use crate::cluster::{Cluster, PATIENCE};

fn quorate() -> Command {
    Command::new(env!("CARGO_BIN_EXE_quorate"))
}

pub(crate) fn backup(cluster: &Cluster, dir: &Path) -> Output {
    let mut command = quorate();
    command.args(["ctl", "--timeout", "30000", "--servers", &cluster.addresses().join(","), "backup"]).arg(dir);
    command.output().expect("it runs")
}

pub(crate) fn restore(cluster: &Cluster, nth: usize, backup: &Path) -> Output {
    let mut command = quorate();
    command.arg("restore").arg(backup).arg("--config").arg(cluster.dir().join("quorate.toml"));
    command.arg("--node").arg((nth + 1).to_string()).arg("--data-dir").arg(cluster.data(nth));
    command.output().expect("it runs")
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn append(number: u64, seq: u64) -> ChangeRequest {
    ChangeRequest {
        key: "numbered".into(),
        change: Some(Change::Append(number.to_string())),
        session: Some(Session { client: "a client of both".into(), seq, acked: None }),
        timeout_ms: 30_000,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_under_load_has_all_that_was_acknowledged_before_and_makes_another_cluster() {
    let mut old = Cluster::start(3).await;
    old.join_through(0, "g2").await;
    let client = old.client();
    for key in 0..40 {
        client.change(&format!("key{key}"), Change::Put(key.to_string()), PATIENCE).await.expect("a write");
    }
    let mut direct = QuorateClient::connect(format!("http://{}", old.address(0))).await.expect("connected");
    client.change("numbered", Change::Put("[]".into()), PATIENCE).await.expect("a write");
    direct.change(append(1, 1)).await.expect("a write");

    // Writes go on meanwhile; what is acknowledged before the backup begins has to be in it.
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = tokio::spawn({
        let (stop, acknowledged, client) = (Arc::clone(&stop), Arc::clone(&acknowledged), old.client());
        async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                client.change("counted", Change::Put(number.to_string()), PATIENCE).await.expect("a write");
                acknowledged.store(number, Ordering::Relaxed);
            }
        }
    });
    while acknowledged.load(Ordering::Relaxed) < 20 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let before = acknowledged.load(Ordering::Relaxed);
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("backup");
    let made = backup(&old, &kept);
    assert!(made.status.success(), "{}", said(&made));
    stop.store(true, Ordering::Relaxed);
    writing.await.expect("a writer");
    assert!(!backup(&old, &kept).status.success(), "a backup is not written over");
    for nth in 0..3 {
        old.kill(nth);
    }

    let mut new = Cluster::numbered(18, 3);
    for nth in 0..3 {
        let done = restore(&new, nth, &kept);
        assert!(done.status.success(), "{}", said(&done));
        new.spawn(nth);
    }
    let client = new.client();
    for key in 0..40 {
        let reply = client.get(&format!("key{key}"), None, PATIENCE).await.expect("an answer");
        assert_eq!(reply.value, Some(key.to_string()));
    }
    let counted = client.get("counted", None, PATIENCE).await.expect("an answer").value.expect("a number");
    assert!(counted.parse::<u64>().expect("a number") >= before);
    // A change that was made before the backup is the same change after it; the next one is another.
    let mut direct = QuorateClient::connect(format!("http://{}", new.address(1))).await.expect("connected");
    direct.change(append(1, 1)).await.expect("its first answer");
    direct.change(append(2, 2)).await.expect("a write");
    let numbered = client.get("numbered", None, PATIENCE).await.expect("an answer").value;
    assert_eq!(numbered.as_deref(), Some("[1,2]"));
    // Shards move, and nodes that are killed come back.
    let to = client.configuration(PATIENCE).await.expect("an answer").shards;
    let other = if to[0] == "g1" { "g2" } else { "g1" };
    direct.r#move(MoveRequest { shard: 0, group: other.into() }).await.expect("a move");
    for nth in 0..3 {
        new.kill(nth);
        new.spawn(nth);
    }
    for key in 0..40 {
        let reply = client.get(&format!("key{key}"), None, PATIENCE).await.expect("an answer");
        assert_eq!(reply.value, Some(key.to_string()), "after the move");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_whole_backup_or_does_not_fit_is_refused_and_leaves_no_node_behind() {
    let old = Cluster::start(3).await;
    old.client().change("key", Change::Put("1".into()), PATIENCE).await.expect("a write");
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("backup");
    assert!(backup(&old, &kept).status.success());
    let refused = |cluster: &Cluster, why: &str| {
        let output = restore(cluster, 0, &kept);
        let said = said(&output);
        assert!(!output.status.success() && said.contains(why), "{why}: {said}");
        assert!(!cluster.data(0).join("identity.json").exists());
    };
    refused(&Cluster::numbered(17, 3), "a number of its own");
    refused(&Cluster::numbered(18, 2), "nodes that the configuration has not");
    let mut names: Vec<_> = std::fs::read_dir(&kept).expect("files").map(|file| file.expect("a file").path()).collect();
    names.sort();
    assert_eq!(names.len(), 3, "the configuration log, a group, the manifest");
    for path in &names {
        let whole = std::fs::read(path).expect("a file");
        let mut flipped = whole.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 4;
        std::fs::write(path, &flipped).expect("a file");
        refused(&Cluster::numbered(18, 3), "damaged");
        std::fs::remove_file(path).expect("removed");
        refused(&Cluster::numbered(18, 3), "");
        std::fs::write(path, &whole).expect("a file");
    }
    let cluster = Cluster::numbered(18, 3);
    assert!(restore(&cluster, 0, &kept).status.success());
    let again = said(&restore(&cluster, 0, &kept));
    assert!(again.contains("is not empty"), "{again}");
}

/// A group's file in a backup.
struct Content(Bytes);

struct ContentReader(Option<Bytes>);

impl SnapshotView for Content {
    fn open(&self) -> Box<dyn SnapshotReader> {
        Box::new(ContentReader(Some(self.0.clone())))
    }
}

impl SnapshotReader for ContentReader {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

/// The shard groups in a backup that hold each key.
fn holders(kept: &Path) -> BTreeMap<String, Vec<String>> {
    let manifest = std::fs::read(kept.join("backup.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let mut holders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let groups = manifest["backup"]["groups"].as_array().expect("groups");
    for group in groups.iter().filter(|group| group["name"] != "controller") {
        let (name, file) = (group["name"].as_str().expect("a name"), group["file"].as_str().expect("a file"));
        let content = Content(std::fs::read(kept.join(file)).expect("its content").into());
        let look = |machine: &mut KvMachine| {
            let KvAnswer::Status(status) = machine.query(KvQuery::Status) else { panic!("{name} has no status") };
            for (shard, status) in status.shards.into_iter().filter(|(_, shard)| shard.state != ShardState::Deleting) {
                assert_eq!(status.state, ShardState::Serving, "{shard:?} of {name}");
                let keys = machine.keys(shard).expect("it is served");
                keys.keys().for_each(|key| holders.entry(key.to_string()).or_default().push(name.to_owned()));
            }
            Ok(())
        };
        edited(&content, KvMachine::default(), look).expect("a group's content");
    }
    holders
}

/// All keys of a cluster, and what they have.
fn items(cluster: &Cluster) -> Value {
    cluster.ask(&["--timeout", "30000", "scan"])["items"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_made_after_a_group_has_left_has_every_key_once_and_the_group_can_come_back() {
    let mut old = Cluster::start(3).await;
    old.join_through(0, "g2").await;
    let client = old.client();
    for key in 0..40 {
        client.change(&format!("key{key}"), Change::Put(key.to_string()), PATIENCE).await.expect("a write");
    }
    client.change("numbered", Change::Put("[]".into()), PATIENCE).await.expect("a write");
    let mut direct = QuorateClient::connect(format!("http://{}", old.address(0))).await.expect("connected");
    direct.change(append(1, 1)).await.expect("a write");

    // One while its shards may still be on their way, and one when the other group has served them for a while.
    old.ask(&["leave", "g1"]);
    let dir = tempfile::tempdir().expect("a directory");
    let (early, late) = (dir.path().join("early"), dir.path().join("late"));
    let made = backup(&old, &early);
    assert!(made.status.success(), "{}", said(&made));
    let before = items(&old);
    client.change("key0", Change::Put("\"late\"".into()), PATIENCE).await.expect("a write");
    direct.change(append(2, 2)).await.expect("a write");
    let made = backup(&old, &late);
    assert!(made.status.success(), "{}", said(&made));
    let after = items(&old);
    (0..3).for_each(|nth| old.kill(nth));
    assert_eq!((before["key0"].clone(), before["numbered"].clone()), (json!(0), json!([1])));
    assert_eq!((after["key0"].clone(), after["numbered"].clone()), (json!("late"), json!([1, 2])));

    for (number, kept, kept_items) in [(18, early, before), (19, late, after)] {
        let keys: Vec<&String> = kept_items.as_object().expect("items").keys().collect();
        let held = holders(&kept);
        assert!(held.keys().eq(keys), "{held:?}");
        assert!(held.values().all(|groups| groups == &["g2"]), "{held:?}");

        let mut new = Cluster::numbered(number, 3);
        for nth in 0..3 {
            let done = restore(&new, nth, &kept);
            assert!(done.status.success(), "{}", said(&done));
            new.spawn(nth);
        }
        // It serves as soon as it is asked, and knows the changes that were made.
        new.client().get("key0", None, PATIENCE).await.expect("an answer");
        let mut direct = QuorateClient::connect(format!("http://{}", new.address(0))).await.expect("connected");
        direct.change(append(1, 1)).await.expect("its first answer");
        assert_eq!(items(&new), kept_items);
        // The group that had left takes its shards back, and then all of them.
        new.join_through(0, "g1").await;
        new.ask(&["leave", "g2"]);
        assert_eq!(items(&new), kept_items);
        let owners = new.ask(&["config"])["shards"].take();
        assert_eq!(owners, json!(["g1", "g1", "g1", "g1"]));
    }
}
