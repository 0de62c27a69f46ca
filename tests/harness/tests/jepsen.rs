//! `quorate-jepsen test` on small nodes, good ones and bad ones: what it says, with which exit code, and what it leaves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const JEPSEN: &str = env!("CARGO_BIN_EXE_quorate-jepsen");
const NODE: &str = env!("CARGO_BIN_EXE_sample-node");

/// Clients wait ten mean latencies, and these nodes say nothing to each other: so that a busy machine is no reason to give up.
const PATIENT: &str = "--latency 2000";

/// One run: the options, then what the node is told.
struct Ran {
    output: Output,
    store: tempfile::TempDir,
    workload: String,
}

fn run(workload: &str, options: &str, node: &str) -> Ran {
    let store = tempfile::tempdir().expect("a directory");
    let output = Command::new(JEPSEN)
        .args(["test", "--workload", workload, "--bin", NODE, "--store"])
        .arg(store.path())
        .args(options.split_whitespace())
        .arg("--")
        .args(node.split_whitespace())
        .output()
        .expect("it runs");
    Ran { output, store, workload: workload.to_owned() }
}

impl Ran {
    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}{}", text(&self.output.stderr), text(&self.output.stdout))
    }

    /// Fails unless it ended with this code and this last line.
    fn assert(&self, code: i32, last_line: &str) {
        let last = self.said().lines().last().unwrap_or_default().to_owned();
        assert_eq!((self.code(), last.as_str()), (Some(code), last_line), "{}", self.said());
    }

    fn file(&self, name: &str) -> String {
        let path = self.store.path().join(&self.workload).join("latest").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn results(&self) -> Value {
        serde_json::from_str(&self.file("results.json")).expect("results are JSON")
    }

    /// What a checker has said: its entry of the results.
    fn check(&self, name: &str) -> Value {
        let results = self.results();
        let check = results["checks"].as_array().into_iter().flatten().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name}: {results}")).clone()
    }
}

const GOOD: &str = "Everything looks good!";
const BAD: &str = "Analysis invalid!";

#[test]
fn nodes_that_echo_are_good_and_their_run_is_kept() {
    let ran = run(
        "echo",
        &format!("{PATIENT} --node-count 2 --rate 200 --time-limit 1 --availability total --seed 1"),
        "memory",
    );
    ran.assert(0, GOOD);
    assert_eq!(ran.results()["valid"], true);
    assert_eq!(ran.check("availability")["details"]["ok-fraction"], 1.0);
    let count = ran.check("stats")["details"]["by-f"]["echo"]["ok-count"].as_u64().unwrap();
    assert!(count > 0, "{}", ran.results());
    // Each operation is a question and an answer; each node was initialised.
    let net = ran.check("net")["details"].take();
    assert_eq!((&net["clients"]["msg-count"], &net["servers"]["msg-count"]), (&(2 * count + 4).into(), &0.into()));
    assert!(ran.file("history.jsonl").lines().count() as u64 >= 2 * count);
    ran.file("index.html");
    ran.file("node-logs/n1.log");
}

#[test]
fn careless_nodes_are_caught() {
    let options = format!("{PATIENT} --node-count 2 --rate 200 --time-limit 1");
    run("echo", &options, "careless").assert(1, BAD);
    run("unique-ids", &options, "careless").assert(1, BAD);
    run("unique-ids", &options, "memory").assert(0, GOOD);
}

#[test]
fn what_nodes_tell_each_other_takes_its_time_and_is_lost_between_those_who_are_cut_off() {
    let options = "--node-count 5 --rate 50 --time-limit 2 --latency 30 --latency-dist uniform";
    let ran = run("broadcast", options, "memory");
    ran.assert(0, GOOD);
    let net = ran.check("net")["details"].take();
    assert!(net["servers"]["msg-count"].as_u64() > Some(0), "{net}");
    let cut_off = format!("{options} --nemesis partition --partitions majority --nemesis-interval 0.3");
    let ran = run("broadcast", &cut_off, "memory");
    ran.assert(1, BAD);
    let net = ran.check("net")["details"].take();
    assert!(net["servers"]["recv-count"].as_u64() < net["servers"]["send-count"].as_u64(), "{net}");
    assert_eq!(net["clients"]["recv-count"], net["clients"]["send-count"]);
}

#[test]
fn the_same_seed_asks_the_same() {
    let asked = |seed: u64| {
        let ran = run("echo", &format!("{PATIENT} --node-count 1 --rate 100 --time-limit 0.5 --seed {seed}"), "memory");
        ran.assert(0, GOOD);
        let lines = ran.file("history.jsonl");
        let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["type"] == "invoke").map(|line| line["value"].clone()).collect::<Vec<_>>()
    };
    let (one, again, other) = (asked(1), asked(1), asked(2));
    // How many fit into the time is another matter.
    let common = one.len().min(again.len()).min(other.len());
    assert!(common > 0 && one[..common] == again[..common] && one[..common] != other[..common], "{one:?} {other:?}");
}

#[test]
fn one_register_is_linearizable_and_three_that_do_not_know_each_other_are_not() {
    let options = format!("{PATIENT} --rate 300 --time-limit 2 --node-count");
    let ran = run("lin-kv", &format!("{options} 1 --concurrency 8n"), "memory");
    ran.assert(0, GOOD);
    let history = ran.store.path().join("lin-kv/latest/history.jsonl");
    let check = |file: &Path| Command::new(JEPSEN).arg("check").arg(file).output().unwrap();
    assert!(check(&history).status.success());
    let ran = run("lin-kv", &format!("{options} 3"), "memory");
    ran.assert(1, BAD);
    assert_eq!(ran.check("linearizability")["valid"], false);
    let history = ran.store.path().join("lin-kv/latest/history.jsonl");
    assert_eq!(check(&history).status.code(), Some(1));
}

// On a busy machine there may be no operation of some kind that ends well between two kills, so that these runs are not good
// for want of one. What counts here is the order.

#[test]
fn a_register_that_loses_what_it_had_when_it_is_killed_is_caught() {
    let options = "--rate 300 --time-limit 3 --node-count 1 --concurrency 4n --nemesis kill --nemesis-interval 0.4";
    let ran = run("lin-kv", options, "file --data-dir {data}");
    assert_eq!(ran.check("linearizability")["valid"], true, "{}", ran.said());
    assert!(ran.results()["faults"].as_array().is_some_and(|faults| !faults.is_empty()), "{}", ran.said());
    // Nearly always the first time.
    let is_caught = |_| run("lin-kv", options, "memory").check("linearizability")["valid"] == false;
    assert!((0..6).any(is_caught));
}

#[test]
fn a_register_that_is_paused_is_slow_and_right() {
    let options = "--rate 100 --time-limit 2 --node-count 1 --concurrency 4n --nemesis pause --nemesis-interval 0.2";
    let ran = run("lin-kv", options, "memory");
    assert_eq!(ran.check("linearizability")["valid"], true, "{}", ran.said());
    assert_eq!(ran.check("nodes")["valid"], true, "{}", ran.said());
}

#[test]
fn a_node_that_writes_nonsense_is_warned_of_and_not_heard_any_more() {
    for kind in ["babbling", "lost"] {
        let ran = run("echo", "--node-count 1 --rate 100 --time-limit 1", kind);
        ran.assert(0, GOOD);
        assert_eq!(ran.check("nodes")["details"]["warnings"].as_array().map(Vec::len), Some(1));
        // One of its ten answers was to `init`.
        assert_eq!(ran.check("stats")["details"]["ok-count"], 9);
        assert!(ran.said().contains("WARN node n0"), "{}", ran.said());
    }
}

#[test]
fn a_node_that_ends_by_itself_ends_the_run_with_its_last_words() {
    let ran = run("echo", "--node-count 1 --rate 100 --time-limit 20", "ending");
    assert_eq!(ran.code(), Some(3), "{}", ran.said());
    for words in ["node n0 has ended by itself, with exit status: 7", "it has had enough", "echo_ok"] {
        assert!(ran.said().contains(words), "{}", ran.said());
    }
    assert_eq!(ran.results()["valid"], "unknown");
}

#[test]
#[ignore = "takes the ten seconds that a node has"]
fn a_node_that_does_not_answer_init_ends_the_run() {
    let ran = run("echo", "--node-count 1 --time-limit 20", "mute");
    assert_eq!(ran.code(), Some(3), "{}", ran.said());
    assert!(ran.said().contains("has not answered init"), "{}", ran.said());
}

#[test]
fn a_command_that_makes_no_sense_is_no_verdict() {
    for (options, node) in [("--concurrency 7", "memory"), ("--rate 0", "memory"), ("--node-count 0", "memory")] {
        let ran = run("lin-kv", options, node);
        assert!(ran.code().is_some_and(|code| code > 2), "{options}: {}", ran.said());
    }
    let ran = run("lin-kv", "--node-count 1", "nonsense");
    assert_eq!(ran.code(), Some(3), "it ends at once: {}", ran.said());
}

#[test]
fn nothing_is_left_of_a_run_that_is_interrupted() {
    let store = tempfile::tempdir().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(JEPSEN)
        .env("TMPDIR", scratch.path())
        .args(["test", "-w", "echo", "--bin", NODE, "--node-count", "2", "--time-limit", "60", "--store"])
        .arg(store.path())
        .args(["--nemesis", "pause", "--nemesis-interval", "0.1", "--", "memory", "--data-dir", "{data}"])
        .spawn()
        .unwrap();
    // It is under way once a node has a directory.
    let is_under_way = || {
        let runs = fs::read_dir(scratch.path()).unwrap().flatten();
        runs.into_iter().any(|run| run.path().join("node-data/n1").exists())
    };
    while !is_under_way() {
        assert!(child.try_wait().unwrap().is_none(), "it ends too soon");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the nodes' directories");
    let scratch = scratch.path().to_string_lossy().into_owned();
    let lines = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let left = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|entry| String::from_utf8_lossy(&lines(&entry.file_name().to_string_lossy())).contains(&scratch));
    assert_eq!(left.count(), 0, "processes");
}
