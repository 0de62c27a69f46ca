//! `quorate-mutants`: plants one bug after the other, and says which claim notices each, after how many seeds.
//!
//! ```text
//! cargo build --workspace --features planted --bin quorate-mutants
//! target/debug/quorate-mutants --list
//! target/debug/quorate-mutants --bug no-read-index
//! ```
//!
//! A bug that nothing notices is a hole in the tests: the exit status is 1 then. `docs/testing/mutations.md` has the table.

// As in the simulation's own program.
#![recursion_limit = "256"]

mod campaign;
mod hunts;
mod report;
mod simulate;
#[path = "../simulation/systems/mod.rs"]
mod systems;
mod targets;
mod trial;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use quorate::planted::Bug;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;

use campaign::{By, Rules};

/// Plants one bug after the other in what the tests run, and says what notices each.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Only these bugs.
    #[arg(long = "bug", value_name = "NAME", value_parser = bug)]
    bugs: Vec<Bug>,
    /// Only so many bugs, chosen at random from those that are caught within seconds.
    #[arg(long, value_name = "N", conflicts_with = "bugs")]
    sample: Option<usize>,
    /// Hunts by nothing but the simulation, which needs no other program.
    #[arg(long)]
    simulation: bool,
    /// Only runs one seed of this scenario, with the bug that QUORATE_PLANTED names.
    #[arg(long, value_name = "SCENARIO", hide = true)]
    simulate: Option<String>,
    /// Says what the bugs are.
    #[arg(long)]
    list: bool,
    /// Hunts without any bug, with so many seeds: nothing may be noticed.
    #[arg(long, value_name = "SEEDS")]
    control: Option<u64>,
    /// How long one bug is hunted, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    budget: u64,
    /// After so many seconds a single trial is taken to hang, also if it takes no processor's time.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    hang: u64,
    /// The first seed of each hunt; a sample is chosen by it, too.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn bug(name: &str) -> Result<Bug, String> {
    Bug::named(name).ok_or_else(|| "there is no such bug: see --list".into())
}

impl Cli {
    fn rules(&self) -> Rules {
        let seconds = Duration::from_secs;
        Rules {
            budget: seconds(self.budget),
            hang: seconds(self.hang),
            first_seed: self.seed,
            by: match (self.sample, self.simulation) {
                (Some(_), _) => By::Sample,
                (None, true) => By::Simulation,
                (None, false) => By::All,
            },
        }
    }

    fn chosen(&self) -> Vec<Bug> {
        match self.sample {
            Some(count) => {
                let mut random = SmallRng::seed_from_u64(self.seed);
                hunts::QUICK.sample(&mut random, count).map(|(bug, _)| *bug).collect()
            }
            None if self.bugs.is_empty() => Bug::ALL.to_vec(),
            None => self.bugs.clone(),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if cli.list {
        report::list();
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(scenario) = &cli.simulate {
        return simulate::simulate(scenario, cli.seed);
    }
    let (bugs, rules) = (cli.chosen(), cli.rules());
    let is_well = match cli.control {
        Some(seeds) => campaign::control_all(&bugs, rules, seeds)?,
        None => campaign::hunt_all(&bugs, rules)?,
    };
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
