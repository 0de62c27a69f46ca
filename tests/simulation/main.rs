//! `quorate-sim`: clusters simulated by a seed (see `docs/testing/simulation.md`).

use std::process::ExitCode;

use clap::Parser;
use quorate_harness::sim::{command, scenarios};

fn main() -> ExitCode {
    command::run(&scenarios::all(), &command::Options::parse())
}
