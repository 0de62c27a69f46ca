//! The node binaries, run as the processes that they are.
//!
//! `samples`: the protocol's samples. `transcripts`: golden conversations, every message and every error. `processes`:
//! what the binaries are fed, how they end, what they never do. `piped`: transcripts that are sent at once. `kept`: what
//! survives on a data directory.

mod kept;
mod piped;
mod process;
mod processes;
mod sample;
mod samples;
mod transcript;
mod transcripts;

use std::path::{Path, PathBuf};

/// The workspace's directory.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// The binary of this name.
fn binary(name: &str) -> &'static str {
    match name {
        "master" => env!("CARGO_BIN_EXE_master"),
        "shardkv" => env!("CARGO_BIN_EXE_shardkv"),
        "replica" => env!("CARGO_BIN_EXE_replica"),
        "replica_group" => env!("CARGO_BIN_EXE_replica_group"),
        other => panic!("no binary {other}"),
    }
}
