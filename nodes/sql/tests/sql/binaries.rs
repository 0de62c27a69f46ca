//! The binary as a process: the samples of the protocol, and golden transcripts.

use std::path::{Path, PathBuf};

use crate::sample::{play_all, transcripts};
use crate::transcript::play;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const BINARIES: [&str; 1] = ["coordinator"];

#[test]
fn every_sample_is_answered_as_expected() {
    assert_eq!(play_all(&workspace().join("tests/samples"), &BINARIES), 2);
}

#[test]
fn every_sample_beside_the_workspace_is_answered_as_expected() {
    let directory = workspace().join("../shared/samples");
    if !directory.is_dir() {
        eprintln!("SKIPPED: there are no samples beside the workspace ({})", directory.display());
        return;
    }
    assert!(play_all(&directory, &BINARIES) > 0, "{} has none for the coordinator", directory.display());
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
    coordinator_partial
    coordinator_queries
    coordinator_rules
}

#[test]
fn every_transcript_is_played() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    assert_eq!(transcripts(&directory), ALL);
}
