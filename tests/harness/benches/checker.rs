//! How fast the linearizability checker is: `cargo bench -p quorate-harness --bench checker`.
//!
//! All recorded histories as one run, then generated ones of many operations. `QUORATE_HISTORIES` names a directory with
//! more of the former; otherwise those of `tests/histories` are judged.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorate_harness::checker::json::JsonRegister;
use quorate_harness::checker::register::{Register, RegisterAnswer, RegisterOp};
use quorate_harness::checker::{Keyed, Limits, Model, Operation, Outcome, Position, Verdict, check, jsonl};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// What files of one kind came to.
#[derive(Default)]
struct Kind {
    files: usize,
    operations: usize,
    reading: Duration,
    judging: Duration,
    worst: (Duration, String),
}

fn main() -> anyhow::Result<()> {
    recorded()?;
    for (name, processes, keys, open) in [
        ("20 clients, 1 key", 20, 1, 0),
        ("20 clients, 16 keys", 20, 16, 0),
        ("1 in 100 open", 20, 16, 100),
        ("1 in 10 open", 20, 16, 10),
    ] {
        generated(name, processes, keys, open)?;
    }
    Ok(())
}

fn recorded() -> anyhow::Result<()> {
    let kept = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../histories"));
    let directory = std::env::var_os("QUORATE_HISTORIES").map_or(kept, PathBuf::from);
    let expected = fs::read_to_string(directory.join("EXPECTED")).context("EXPECTED")?;
    let mut kinds: BTreeMap<&str, Kind> = BTreeMap::new();
    let start = Instant::now();
    for line in expected.lines() {
        let (name, verdict) = line.split_once(' ').context("a name and a verdict")?;
        let is_string = name.starts_with("kv");
        let start = Instant::now();
        let model = JsonRegister::starting_with(if is_string { json!("") } else { Value::Null });
        let history = jsonl::read(&fs::read(directory.join(name))?)?.operations(&model)?;
        let read = Instant::now();
        let found = check(&model, &history, Limits::default());
        let judged = read.elapsed();
        ensure!(found.is_linearizable() == (verdict == "true"), "{name}: {found}");
        let kind = kinds.entry(if is_string { "kv" } else { "etcd" }).or_default();
        kind.files += 1;
        kind.operations += history.len();
        kind.reading += read - start;
        kind.judging += judged;
        kind.worst = std::mem::take(&mut kind.worst).max((judged, name.to_owned()));
    }
    println!(
        "{:<22} {:>6} {:>10} {:>10} {:>10} {:>10}  worst",
        "recorded", "files", "operations", "reading", "judging", "per second"
    );
    for (name, Kind { files, operations, reading, judging, worst: (longest, worst) }) in kinds {
        let rate = operations as f64 / judging.as_secs_f64();
        println!(
            "{name:<22} {files:>6} {operations:>10} {reading:>10.1?} {judging:>10.1?} {rate:>10.0}  {worst} {longest:.1?}"
        );
    }
    println!("all, with reading them: {:.1?}", start.elapsed());
    Ok(())
}

fn generated(name: &str, processes: u64, keys: u64, open: u32) -> anyhow::Result<()> {
    let mut history = run(&mut SmallRng::seed_from_u64(7), processes, keys, open, 100_000);
    let register = Register::empty();
    for is_right in [true, false] {
        if !is_right {
            spoil(&mut history);
        }
        let start = Instant::now();
        let verdict = check(&register, &history, Limits::default());
        let took = start.elapsed();
        // With many open operations nobody knows what a value that is read once may come from.
        let is_expected =
            if is_right { verdict.is_linearizable() } else { matches!(verdict, Verdict::NotLinearizable(_)) };
        ensure!(is_expected || matches!(verdict, Verdict::Unknown(_)), "{name}: {verdict}");
        let what = if is_right { "right" } else { "wrong" };
        let rate = history.len() as f64 / took.as_secs_f64();
        println!(
            "{name:<22} {what:<6} {:>10} {:>10} {took:>10.1?} {rate:>10.0}  {}",
            history.len(),
            "",
            word(&verdict)
        );
    }
    Ok(())
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Linearizable => "true",
        Verdict::NotLinearizable(_) => "false",
        Verdict::Unknown(_) => "unknown",
    }
}

type History = Vec<Operation<Keyed<RegisterOp<u32>>, RegisterAnswer<u32>>>;

/// A run of clients against registers that is linearizable by construction: each of its steps lets one client call, take
/// effect or return; one operation of `open` never returns, whether it took effect or not.
fn run(rng: &mut SmallRng, processes: u64, keys: u64, open: u32, operations: usize) -> History {
    let register = Register::empty();
    let mut values: BTreeMap<String, Option<u32>> = BTreeMap::new();
    let mut busy: BTreeMap<u64, (usize, Option<RegisterAnswer<u32>>)> = BTreeMap::new();
    let mut history: History = Vec::with_capacity(operations);
    let mut position = 0;
    while history.len() < operations || !busy.is_empty() {
        position += 1;
        let process = rng.random_range(0..processes);
        let Some((nth, answer)) = busy.get_mut(&process) else {
            if history.len() < operations {
                let mut value = || rng.random_range(0..5);
                let (one, other) = (value(), value());
                let op = match rng.random_range(0..4) {
                    0 => RegisterOp::Write(one),
                    1 => RegisterOp::Cas { from: one, to: other, create: false },
                    _ => RegisterOp::Read,
                };
                let input = Keyed::new(format!("k{}", rng.random_range(0..keys)), op);
                busy.insert(process, (history.len(), None));
                history.push(Operation { process, input, called: Position(position), outcome: Outcome::Open });
            }
            continue;
        };
        if open > 0 && rng.random_range(0..2 * open) == 0 {
            busy.remove(&process);
        } else if let Some(output) = answer.take() {
            history[*nth].outcome = Outcome::Returned { output, at: Position(position) };
            busy.remove(&process);
        } else {
            let input = &history[*nth].input;
            let value = values.entry(input.key.clone()).or_default();
            let possible = [RegisterAnswer::Value(*value), RegisterAnswer::Done, RegisterAnswer::Refused];
            let mut steps =
                possible.into_iter().filter_map(|output| Some((register.step(value, input, Some(&output))?, output)));
            if let Some((next, output)) = steps.next() {
                (*value, *answer) = (next, Some(output));
            }
        }
    }
    history
}

/// Makes a read in the middle answer what nobody wrote.
fn spoil(history: &mut History) {
    let middle = history.len() / 2;
    for operation in &mut history[middle..] {
        if let Outcome::Returned { output: output @ RegisterAnswer::Value(_), .. } = &mut operation.outcome {
            *output = RegisterAnswer::Value(Some(99));
            return;
        }
    }
}
