//! One seed of a scenario of the simulation, in this process.

use std::process::ExitCode;

use anyhow::Context;
use quorate_harness::sim::{Scenario, run_seed, scenarios};

use super::systems;

/// What the line begins with that says what was noticed.
pub(crate) const NOTICED: &str = "noticed: ";

/// Runs it. The exit status is 1 when something was noticed, which is then said.
///
/// # Errors
/// When there is no such scenario.
pub(crate) fn simulate(name: &str, seed: u64) -> anyhow::Result<ExitCode> {
    let scenario = all().find(|scenario| scenario.name() == name);
    let outcome = run_seed(scenario.with_context(|| format!("no scenario {name}"))?, seed);
    Ok(match outcome.violation() {
        None => ExitCode::SUCCESS,
        Some(violation) => {
            let reason = violation.reason.split_whitespace().collect::<Vec<_>>().join(" ");
            println!("{NOTICED}{}: {reason}", violation.property);
            ExitCode::FAILURE
        }
    })
}

/// The library's scenarios and the systems'.
fn all() -> impl Iterator<Item = &'static dyn Scenario> {
    scenarios::all().into_iter().chain(systems::ALL.iter().copied())
}
