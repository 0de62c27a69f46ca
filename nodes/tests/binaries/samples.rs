//! The samples of the protocol, through the real binaries: every expected line appears, equal as JSON, in that order.

use std::fs;
use std::path::Path;

use crate::process::Process;
use serde_json::Value;

/// Plays all samples of `directory` whose binary is one of these.
fn play_all(directory: &Path, binaries: &[&str]) -> usize {
    let mut inputs: Vec<_> = fs::read_dir(directory)
        .expect("the directory can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".in.jsonl"))
        .collect();
    inputs.sort();
    let mut played = 0;
    for input in inputs {
        let name = input.file_name().expect("a file").to_string_lossy().replace(".in.jsonl", "");
        let binary = name.split('-').next().expect("a name");
        if binaries.contains(&binary) {
            play(binary, &name, &input, &directory.join(format!("{name}.expected.jsonl")));
            played += 1;
        }
    }
    played
}

fn play(binary: &str, name: &str, input: &Path, expected: &Path) {
    let mut process = Process::start(binary, &["--request-timeout", "60000", "--drain-timeout", "60000"]);
    process.send(fs::read(input).expect("the input can be read"));
    let ended = process.end();
    ended.assert_well();
    let mut received = ended.rest.iter();
    for line in fs::read_to_string(expected).expect("what is expected can be read").lines() {
        let line: Value = serde_json::from_str(line).expect("what is expected is JSON");
        assert!(received.any(|received| *received == line), "{name}: no {line}\namong {:?}", ended.rest);
    }
}

const BINARIES: [&str; 4] = ["shardkv", "replica", "replica_group", "master"];

#[test]
fn every_sample_is_answered_as_expected() {
    assert_eq!(play_all(&crate::workspace().join("tests/samples"), &BINARIES), 6);
}

#[test]
fn every_sample_beside_the_workspace_is_answered_as_expected() {
    let directory = crate::workspace().join("../shared/samples");
    if !directory.is_dir() {
        eprintln!("SKIPPED: there are no samples beside the workspace ({})", directory.display());
        return;
    }
    assert!(play_all(&directory, &BINARIES) > 0, "{} has none for these binaries", directory.display());
}
