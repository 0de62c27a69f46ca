//! Tests of scatter-gather SQL, in one binary because DataFusion is slow to link.
//!
//! `selects`: answers and what travelled, against a single engine. `failing`: shards and statements that fail. `json`:
//! values. `killing`: queries while leaders die. `servers`: shards on servers. `binaries`: the process, its samples and transcripts.
//! `documented`: docs. `data`, `dml`, `encoding`, `faults`: rows, and statements that change them, over the groups of `shards`. `apart`:
//! coordinator and shards as processes of their own, over the harness's network; `between`: somebody is in their way.

mod apart;
mod between;
mod binaries;
mod data;
mod dml;
mod documented;
mod encoding;
mod failing;
mod faults;
mod json;
mod killing;
mod memory;
mod rows;
mod selects;
mod servers;
mod shards;
mod support;

#[path = "../../../tests/binaries/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "../../../tests/binaries/sample.rs"]
mod sample;
#[path = "../../../tests/binaries/transcript.rs"]
#[allow(dead_code)]
mod transcript;

/// The binary of this name.
fn binary(name: &str) -> &'static str {
    match name {
        "coordinator" => env!("CARGO_BIN_EXE_coordinator"),
        "shard" => env!("CARGO_BIN_EXE_shard"),
        other => panic!("no binary {other}"),
    }
}
