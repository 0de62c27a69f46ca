//! The linearizability checker against recorded histories with known verdicts.
//!
//! A few stand beside this file. `QUORATE_HISTORIES` may name a directory with more, in the same form.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate_harness::checker::json::JsonRegister;
use quorate_harness::checker::{Limits, Verdict, check, jsonl};
use serde_json::{Value, json};

/// The verdict on one file: a register's history, or a string's when its name starts with `kv`.
fn judge(directory: &Path, name: &str) -> anyhow::Result<Verdict> {
    let lines = jsonl::read(&fs::read(directory.join(name))?)?;
    let limits = Limits { time: Duration::from_secs(60), ..Limits::default() };
    let model = JsonRegister::starting_with(if name.starts_with("kv") { json!("") } else { Value::Null });
    Ok(check(&model, &lines.operations(&model)?, limits))
}

/// Judges all files that the directory's `EXPECTED` lists: a name and `true` or `false` on each line.
fn assert_verdicts(directory: &Path) -> anyhow::Result<()> {
    let expected = fs::read_to_string(directory.join("EXPECTED"))?;
    let start = Instant::now();
    for line in expected.lines() {
        let (name, linearizable) = line.split_once(' ').context("a name and a verdict")?;
        let verdict = judge(directory, name).context(name.to_owned())?;
        match linearizable.parse()? {
            true => assert_eq!(verdict, Verdict::Linearizable, "{name}"),
            false => assert!(matches!(verdict, Verdict::NotLinearizable(_)), "{name}: {verdict}"),
        }
    }
    println!("{} histories in {:?}", expected.lines().count(), start.elapsed());
    assert!(!expected.is_empty(), "no history in {}", directory.display());
    Ok(())
}

#[test]
fn kept_histories_get_their_known_verdicts() -> anyhow::Result<()> {
    assert_verdicts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("histories"))
}

#[test]
fn further_histories_get_their_known_verdicts() -> anyhow::Result<()> {
    let Some(directory) = std::env::var_os("QUORATE_HISTORIES") else {
        eprintln!("SKIPPED: QUORATE_HISTORIES names no directory with further histories");
        return Ok(());
    };
    assert_verdicts(Path::new(&directory))
}
