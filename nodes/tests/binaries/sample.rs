//! Samples of the protocol: what is sent, and what must be answered. Every expected line appears, equal as JSON, in that order.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::Process;

/// Plays all samples of `directory` whose binary is one of these.
pub(crate) fn play_all(directory: &Path, binaries: &[&str]) -> usize {
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

/// The names of the transcripts in a directory, sorted.
pub(crate) fn transcripts(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).expect("the directory can be read").map(|entry| {
        let path = entry.expect("an entry").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
