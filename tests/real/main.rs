//! `quorate-real`: server processes on this machine under load and faults, judged and reported.
//!
//! Promises: exit code 0, 1 or 2 is a verdict (true, false, unknown); whatever kept it from one is 3 or more, and told on
//! standard error; no process stays behind, however this one ends.
//! Leaves out: what only a whole machine can lose: its memory of what was written and not synced. Linux alone is supported.

mod admin;
mod clients;
mod contents;
mod faults;
mod flags;
mod healing;
mod judge;
mod links;
mod moves;
mod nemesis;
mod nodes;
mod owners;
mod process;
mod recorder;
mod remains;
mod run;
mod screen;

use std::process::ExitCode;

use clap::Parser;
use quorate_harness::findings::Answer;

use crate::flags::Flags;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// No verdict: something went wrong with the run itself.
const NO_VERDICT: u8 = 3;
/// No verdict: the command itself was not understood.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let flags = match Flags::try_parse() {
        Ok(flags) => flags,
        Err(error) => {
            // That it cannot be written has nobody to be told to.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let answer = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run::run(&flags)));
    match answer {
        Ok(Answer::True) => ExitCode::SUCCESS,
        Ok(Answer::False) => ExitCode::from(1),
        Ok(Answer::Unknown) => ExitCode::from(2),
        Err(error) => {
            eprintln!("quorate-real: {error:#}");
            ExitCode::from(NO_VERDICT)
        }
    }
}
