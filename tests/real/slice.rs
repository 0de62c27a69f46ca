//! Real processes under faults: short runs for every day, longer ones by name, and that nothing stays behind.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const REAL: &str = env!("CARGO_BIN_EXE_quorate-real");

/// Each kind of fault once.
const SHORT: [&str; 8] = ["--rounds", "1", "--time-limit", "60", "--nemesis-interval", "0.6", "--rate", "60"];

/// One cluster at a time: others have the machine too.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn command(store: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(REAL);
    command.args(["--bin", env!("CARGO_BIN_EXE_quorate-process"), "--store"]).arg(store).args(flags);
    command
}

fn text(output: &Output) -> String {
    [&*String::from_utf8_lossy(&output.stdout), &*String::from_utf8_lossy(&output.stderr)].concat()
}

/// Runs the driver on processes of this build, and demands that all is good.
fn is_good(flags: &[&str]) {
    let _turn = turn();
    let store = tempfile::tempdir().expect("a directory");
    let output = command(store.path(), flags).output().expect("it runs");
    let said = text(&output);
    println!("{said}");
    assert!(output.status.success(), "{}\n{said}", output.status);
    for file in ["index.html", "results.json", "history.jsonl", "node-logs/n1.log"] {
        assert!(store.path().join("latest").join(file).exists(), "{file}");
    }
}

#[test]
fn keys_are_linearizable_while_nodes_die_stand_still_and_are_cut_off_and_shards_move() {
    is_good(&[&["--nemesis", "kill,pause,cut,moves"], &SHORT[..]].concat());
}

#[test]
fn registers_are_linearizable_while_nodes_are_restarted_and_replaced_and_clocks_and_disks_fail() {
    is_good(&[&["-w", "registers", "--nemesis", "clock,roll,replace,disk"], &SHORT[..]].concat());
}

/// `cargo test -p quorate-tests --test real -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn keys_are_linearizable_through_everything() {
    is_good(&["--time-limit", "180", "--nodes", "5", "--nemesis", "all"]);
}

/// `cargo test -p quorate-tests --test real -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn registers_are_linearizable_through_everything() {
    is_good(&["--workload", "registers", "--time-limit", "180", "--nemesis", "all"]);
}

#[test]
fn a_command_that_makes_no_sense_has_no_verdict() {
    let store = tempfile::tempdir().expect("a directory");
    for flags in [&["--nemesis", "kil"][..], &["--nodes", "0"], &["--what"]] {
        assert_eq!(command(store.path(), flags).output().expect("it runs").status.code(), Some(64), "{flags:?}");
    }
    let mut without = Command::new(REAL);
    let output = without.args(["--bin", "/no/such/program", "--store"]).arg(store.path()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}

/// The processes whose command line names this.
fn processes_with(word: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("it is there").flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(word)).collect()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came true that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A run that is under way, with files below a directory of its own.
fn under_way(dir: &Path, nemesis: &str) -> Child {
    let flags = ["--time-limit", "1000", "--nemesis", nemesis, "--nemesis-interval", "0.5"];
    let mut command = command(&dir.join("store"), &flags);
    // Nodes name their files, and so this directory.
    command.env("TMPDIR", dir).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("it runs");
    let word = dir.to_string_lossy().into_owned();
    let is_node = |line: &&String| line.contains("--listen-peer");
    eventually("its nodes run", || processes_with(&word).iter().filter(is_node).count() == 3);
    child
}

/// Starts a run, sends a signal to it, and waits until no process is left. Gives how it ended.
fn cut_short(dir: &Path, nemesis: &str, signal: Signal) -> Option<i32> {
    let _turn = turn();
    let mut child = under_way(dir, nemesis);
    kill_process(Pid::from_child(&child), signal).expect("it is told");
    let status = child.wait().expect("it ends");
    eventually("no process is left", || processes_with(&dir.to_string_lossy()).is_empty());
    status.code()
}

#[test]
fn nothing_is_left_of_a_run_that_is_interrupted() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(cut_short(dir.path(), "pause", Signal::INT), Some(3), "there is no verdict");
    assert!(dir.path().join("store/latest/index.html").exists(), "what was seen is reported");
    let left = std::fs::read_dir(dir.path()).expect("it is there").flatten().map(|entry| entry.file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["store"]);
}

#[test]
fn no_process_is_left_of_a_run_that_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(cut_short(dir.path(), "kill", Signal::KILL), None);
}
