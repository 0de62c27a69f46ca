//! The binary as a process: the samples of the protocol, and golden transcripts.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::Process;
use crate::transcript::play;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Plays the coordinator's samples of a directory: every expected line appears, equal as JSON, in that order.
fn play_samples(directory: &Path) -> usize {
    let mut played = 0;
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let input = entry.expect("an entry").path();
        let name = input.file_name().expect("a file").to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".in.jsonl").filter(|name| name.starts_with("coordinator-")) else {
            continue;
        };
        let expected = directory.join(format!("{name}.expected.jsonl"));
        let mut process = Process::start("coordinator", &["--request-timeout", "60000", "--drain-timeout", "60000"]);
        process.send(fs::read(&input).expect("the input can be read"));
        let ended = process.end();
        ended.assert_well();
        let mut received = ended.rest.iter();
        for line in fs::read_to_string(expected).expect("what is expected can be read").lines() {
            let line: Value = serde_json::from_str(line).expect("what is expected is JSON");
            assert!(received.any(|received| *received == line), "{name}: no {line}\namong {:?}", ended.rest);
        }
        played += 1;
    }
    played
}

#[test]
fn every_sample_is_answered_as_expected() {
    assert_eq!(play_samples(&workspace().join("tests/samples")), 2);
}

#[test]
fn every_sample_beside_the_workspace_is_answered_as_expected() {
    let directory = workspace().join("../shared/samples");
    if !directory.is_dir() {
        eprintln!("SKIPPED: there are no samples beside the workspace ({})", directory.display());
        return;
    }
    assert!(play_samples(&directory) > 0, "{} has none for the coordinator", directory.display());
}

macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            let name = concat!(stringify!($name), ".txt");
            play(name, include_str!(concat!("../transcripts/", stringify!($name), ".txt")));
        })*

        const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts! {
    coordinator_changes
    coordinator_faults
    coordinator_queries
    coordinator_rules
}

#[test]
fn every_transcript_is_played() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = fs::read_dir(directory).expect("the directory can be read");
    let name = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry").path())).collect();
    names.sort();
    assert_eq!(names, ALL);
}
