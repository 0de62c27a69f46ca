//! Quorate's binaries as processes behind the Maelstrom-compatible router: each workload once, shortly, with the faults that
//! it is made for.
//!
//! `quorate-jepsen test` does the same for longer; docs/testing/stdio.md has the commands.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use quorate_harness::findings::{Answer, Findings};
use quorate_harness::seed::Seed;
use quorate_harness::stdio::nemesis::{Fault, NemesisOptions, Targets};
use quorate_harness::stdio::network::{Split, Weather};
use quorate_harness::stdio::processes::{Program, Watch};
use quorate_harness::stdio::results::findings;
use quorate_harness::stdio::runner::{Runner, Settings};
use quorate_harness::stdio::workload::Workload;
use quorate_harness::stdio::workloads::{FollowerReads, Keys, LinKv, Masters, Strings};

const REPLICA: &str = env!("CARGO_BIN_EXE_replica-process");
const SHARDKV: &str = env!("CARGO_BIN_EXE_shardkv-process");
const REPLICA_GROUP: &str = env!("CARGO_BIN_EXE_replica-group-process");
const MASTER: &str = env!("CARGO_BIN_EXE_master-process");
const COUNTER: &str = env!("CARGO_BIN_EXE_counter-process");

/// Short enough for a test, long enough for a busy machine.
const ARGS: [&str; 5] = ["--distributed", "--heartbeat", "80", "--data-dir", "{data}"];

/// What all runs here have in common.
fn settings(workload: &dyn Workload, seed: &Seed, faults: &[Fault]) -> Settings {
    let nodes: Vec<String> = (1..=3).map(|nth| format!("n{nth}")).collect();
    let workers = workload.workers(nodes.len());
    Settings {
        nodes,
        workers,
        rate: 60.0,
        time_limit: Duration::from_secs(6),
        weather: Weather::default(),
        nemesis: NemesisOptions {
            faults: faults.to_vec(),
            interval: Duration::from_millis(700),
            splits: vec![Split::One, Split::Majority, Split::MajoritiesRing],
            targets: Targets::ANY.to_vec(),
        },
        operator_interval: Duration::from_millis(500),
        seed: seed.number(),
        remembered: 0,
    }
}

async fn run(bin: &str, args: &[&str], workload: Arc<dyn Workload>, settings: Settings) -> Findings {
    let dir = tempfile::tempdir().expect("a directory");
    let program = Program {
        bin: Path::new(bin).to_owned(),
        args: [&ARGS, args].concat().into_iter().map(str::to_owned).collect(),
        data: dir.path().join("data"),
        logs: dir.path().join("logs"),
        log_stderr: true,
    };
    let watch = Watch::new(|text| println!("{text}"));
    let finished = Runner::new(settings, program, Arc::clone(&workload), watch).run().await;
    let findings = findings(&finished, &*workload, None);
    for check in &findings.checks {
        println!("{}: {} ({}) {}", check.name, check.answer.word(), check.reason, check.details);
    }
    findings
}

/// Fails unless all is good. Only which kinds of operations have ended well in so short a time is left to chance.
fn assert_good(findings: &Findings) {
    for check in findings.checks.iter().filter(|check| check.name != "stats") {
        assert_eq!(check.answer, Answer::True, "{}: {}", check.name, check.reason);
    }
    let named = |name: &str| findings.checks.iter().find(|check| check.name == name).expect("it is always checked");
    assert_eq!(named("nodes").details, serde_json::Value::Null, "no node has written nonsense");
    assert_ne!(named("stats").details["ok-count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_are_linearizable_while_they_are_cut_off_killed_and_paused() {
    let (seed, workload) = (Seed::of("jepsen"), Arc::new(LinKv::default()));
    let settings = settings(&*workload, &seed, &[Fault::Partition, Fault::Kill, Fault::Pause]);
    assert_good(&run(REPLICA, &[], workload, settings).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_a_replica_is_older_than_it_says_while_they_are_cut_off_and_paused() {
    let (seed, workload) = (Seed::of("jepsen"), Arc::new(FollowerReads::default()));
    let settings = settings(&*workload, &seed, &[Fault::Partition, Fault::Pause]);
    assert_good(&run(REPLICA, &[], workload, settings).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_carries_retried_appends_out_once_while_all_of_it_is_killed() {
    let (seed, workload) = (Seed::of("jepsen"), Arc::new(Strings::kvraft(Keys::Shared(5))));
    let mut settings = settings(&*workload, &seed, &[Fault::Kill, Fault::Splits]);
    settings.weather.lost = 0.05;
    assert_good(&run(REPLICA_GROUP, &["--group", "g1"], workload, settings).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_store_is_linearizable_while_groups_join_and_leave_and_nodes_are_killed() {
    let (seed, workload) = (Seed::of("jepsen"), Arc::new(Strings::sharded()));
    let settings = settings(&*workload, &seed, &[Fault::Partition, Fault::Kill]);
    assert_good(&run(SHARDKV, &[], workload, settings).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_epoch_has_one_primary_while_masters_fail_over_and_are_killed() {
    let (seed, workload) = (Seed::of("jepsen"), Arc::new(Masters::default()));
    let settings = settings(&*workload, &seed, &[Fault::Partition, Fault::Kill]);
    assert_good(&run(MASTER, &[], workload, settings).await);
}

#[test]
fn a_machine_of_anybodys_is_run_in_processes_and_judged_by_its_model() {
    let (seed, store) = (Seed::of("jepsen"), tempfile::tempdir().expect("a directory"));
    let mut command = Command::new(COUNTER);
    command.args(["processes", "--rate", "60", "--time-limit", "6", "--nemesis", "partition,kill,pause"]);
    command.args(["--nemesis-interval", "0.7", "--p-loss", "0.02", "--seed", &seed.number().to_string(), "--store"]);
    let output = command.arg(store.path()).output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("linearizability: true"), "{said}");
    assert!(store.path().join("counters/latest/index.html").exists(), "{said}");
}
