//! The samples of the protocol, through the real binaries.

use crate::sample::play_all;

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
