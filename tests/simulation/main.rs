//! `quorate-sim`: clusters simulated by a seed (see `docs/testing/simulation.md`), of the library and of the systems.

// A call of a judge goes through many futures, each a type in the next.
#![recursion_limit = "256"]

mod systems;

use std::process::ExitCode;

use clap::Parser;
use quorate_harness::sim::{Scenario, command, scenarios};

fn main() -> ExitCode {
    let all: Vec<&'static dyn Scenario> = scenarios::all().into_iter().chain(systems::ALL.iter().copied()).collect();
    command::run(&all, &command::Options::parse())
}
