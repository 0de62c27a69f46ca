//! Binaries with a data directory: killed, started again on it, and with all that was acknowledged; or refused, with the
//! reason on standard error.

use std::path::Path;

use serde_json::{Value, json};

use crate::process::Process;
use crate::processes::request;

/// A process on a directory, whose nodes have these names.
struct Kept<'a> {
    binary: &'a str,
    dir: &'a Path,
    nodes: &'a [&'a str],
    msg_id: u64,
    process: Process,
}

const PATIENT: [&str; 4] = ["--request-timeout", "30000", "--drain-timeout", "30000"];

fn start(binary: &str, dir: &Path, args: &[&str]) -> Process {
    let dir = dir.to_str().expect("a path of plain text");
    // On a busy machine a primary may be silent for longer than usual.
    let calm: &[&str] = if binary == "master" { &["--election-timeout", "1000"] } else { &[] };
    Process::start(binary, &[&["--data-dir", dir], &PATIENT[..], calm, args].concat())
}

impl<'a> Kept<'a> {
    fn start(binary: &'a str, dir: &'a Path, nodes: &'a [&'a str]) -> Self {
        let mut kept = Kept { binary, dir, nodes, msg_id: 1, process: start(binary, dir, &["--seed", "7"]) };
        kept.init();
        kept
    }

    fn init(&mut self) {
        let answer =
            self.ask(self.nodes[0], json!({ "type": "init", "node_id": self.nodes[0], "node_ids": self.nodes }));
        assert_eq!(answer["type"], "init_ok", "{answer}");
    }

    fn ask(&mut self, node: &str, mut body: Value) -> Value {
        self.msg_id += 1;
        body["msg_id"] = self.msg_id.into();
        self.process.send_line(request("c", node, body));
        loop {
            let answer = self.process.receive().expect("the process goes on");
            if answer["body"]["in_reply_to"] == self.msg_id {
                return answer["body"].clone();
            }
        }
    }

    /// Asks the node, or whoever it says is the primary, until the answer is a good one.
    fn insist(&mut self, node: &str, body: &Value) -> Value {
        let mut node = node.to_owned();
        for _ in 0..200 {
            let answer = self.ask(&node, body.clone());
            if answer["type"] != "error" {
                return answer;
            }
            assert!(matches!(answer["code"].as_u64(), Some(0 | 11)), "{answer}");
            if let Some(primary) = answer["primary"].as_str() {
                node = primary.to_owned();
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{} does not serve", self.binary);
    }

    /// SIGKILL, and another process on the same directory.
    fn crash(&mut self) {
        self.process.signal("KILL");
        self.process = start(self.binary, self.dir, &["--seed", "7"]);
        self.init();
    }
}

#[test]
fn registers_and_sessions_survive_crashes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kept = Kept::start("replica", dir.path(), &["n1", "n2", "n3"]);
    let write = json!({ "type": "write", "key": "k", "value": 1 });
    kept.insist("n2", &write);
    let cas = json!({ "type": "cas", "key": "k", "from": 1, "to": 2, "client": "ann", "seq": 1 });
    assert_eq!(kept.insist("n1", &cas)["type"], "cas_ok");
    for _ in 0..2 {
        kept.crash();
        assert_eq!(kept.insist("n3", &json!({ "type": "read", "key": "k" }))["value"], 2);
        // The first reply again, though the register has another value by now.
        assert_eq!(kept.insist("n1", &cas)["type"], "cas_ok");
    }
    kept.process.end().assert_well();
}

#[test]
fn configurations_groups_and_their_keys_survive_crashes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kept = Kept::start("shardkv", dir.path(), &["p1", "p2"]);
    kept.insist("p1", &json!({ "type": "join", "groups": { "g1": [], "g2": [] } }));
    for key in 0..12 {
        kept.insist("p2", &json!({ "type": "put", "key": key, "value": key }));
    }
    kept.insist("p1", &json!({ "type": "leave", "gids": ["g1"] }));
    kept.crash();
    for key in 0..12 {
        assert_eq!(kept.insist("p1", &json!({ "type": "get", "key": key }))["value"], key);
    }
    let config = kept.insist("p2", &json!({ "type": "query", "version": -1 }));
    assert_eq!((&config["version"], &config["groups"]), (&json!(2), &json!({ "g2": [] })), "{config}");
    let joined = kept.insist("p2", &json!({ "type": "join", "groups": { "g3": [] } }));
    assert_eq!(joined["version"], 3);
    kept.crash();
    let page = kept.insist("p1", &json!({ "type": "scan" }));
    assert_eq!(page["items"].as_array().map(Vec::len), Some(12), "{page}");
    kept.process.end().assert_well();
}

#[test]
fn a_shard_on_its_way_arrives_after_a_crash() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut kept = Kept::start("replica_group", dir.path(), &["g1", "g2"]);
    kept.insist("g1", &json!({ "type": "set_config", "version": 1, "shards": [0], "shard_count": 1 }));
    kept.insist("g2", &json!({ "type": "set_config", "version": 1, "shards": [], "shard_count": 1 }));
    kept.insist("g1", &json!({ "type": "put", "key": "a", "value": 1.50 }));
    kept.insist("g1", &json!({ "type": "config_update", "version": 2, "shards": [], "targets": { "0": "g2" } }));
    kept.crash();
    kept.insist("g2", &json!({ "type": "config_update", "version": 2, "shards": [0], "sources": { "0": "g1" } }));
    assert_eq!(kept.insist("g2", &json!({ "type": "get", "key": "a" }))["value"], 1.5);
    kept.crash();
    assert_eq!(kept.insist("g2", &json!({ "type": "get", "key": "a" }))["value"], 1.5);
    let status = kept.insist("g1", &json!({ "type": "group_status" }));
    assert_eq!(status["version"], 2, "{status}");
    kept.process.end().assert_well();
}

#[test]
fn epochs_go_on_rising_over_crashes() {
    for nodes in [&["m1", "m2", "m3"][..], &["m1", "m2"]] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut kept = Kept::start("master", dir.path(), nodes);
        kept.insist("m1", &json!({ "type": "create", "path": "/a" }));
        let mut epoch = 0;
        for _ in 0..3 {
            let office = kept.insist("m1", &json!({ "type": "subscribe" }));
            let now = office["epoch"].as_u64().expect("an epoch");
            assert!(now > epoch, "epoch {now} after {epoch}");
            epoch = now;
            kept.crash();
        }
        let listing = kept.insist("m1", &json!({ "type": "list", "prefix": "/" }));
        assert_eq!(listing["paths"], json!(["/a"]));
        kept.process.end().assert_well();
    }
}

#[test]
fn a_directory_that_cannot_be_used_ends_the_process_with_the_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let init = |nodes: &[&str]| {
        let body = json!({ "type": "init", "msg_id": 1, "node_id": nodes[0], "node_ids": nodes });
        request("c", nodes[0], body).to_string()
    };
    let refused = |binary: &str, args: &[&str], nodes: &[&str], reason: &str| {
        let mut process = start(binary, dir.path(), args);
        let answer = process.ask(init(nodes));
        assert_eq!(answer["body"]["code"], 13, "{answer}");
        // Its input is still open.
        let ended = process.wait();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.errors);
        assert!(ended.errors.contains(reason), "{}", ended.errors);
        ended.assert_no_panic();
    };
    let mut first = start("replica", dir.path(), &[]);
    assert_eq!(first.ask(init(&["n1", "n2"]))["body"]["type"], "init_ok");
    refused("replica", &[], &["n1", "n2"], "in use");
    first.end().assert_well();
    refused("replica", &[], &["n1", "n2", "n3"], "the data of replica with the nodes n1, n2");
    refused("master", &[], &["n1", "n2"], "the data of replica");
    refused("replica", &["--distributed"], &["n1", "n2"], "no identity.json");
    let log = dir.path().join("n1/log");
    std::fs::remove_dir_all(&log).expect("removed");
    std::fs::write(&log, "not a log").expect("written");
    refused("replica", &[], &["n1", "n2"], "log");
    std::fs::write(dir.path().join("identity.json"), "{}").expect("written");
    refused("replica", &[], &["n1", "n2"], "identity.json is damaged");
}
