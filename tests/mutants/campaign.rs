//! The hunt for one bug: every claim that could notice it, seed after seed, until one does or the time is up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quorate::planted::Bug;

use super::hunts::{Hunt, hunts};
use super::report;
use super::targets::{Programs, Target};
use super::trial::{self, Limits, Outcome};

/// How a hunt for a bug is carried on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How long it may take.
    pub(crate) budget: Duration,
    /// After so long a single trial hangs.
    pub(crate) hang: Duration,
    /// The first seed.
    pub(crate) first_seed: u64,
}

/// What became of a bug.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) bug: Bug,
    /// What noticed it, and what was said; nothing if it got away.
    pub(crate) caught: Option<(Hunt, String)>,
    /// The seed that it was noticed with.
    pub(crate) seed: u64,
    /// How many trials that took.
    pub(crate) trials: u64,
    pub(crate) took: Duration,
}

/// Hunts a bug: with the simulation for half of the time, then with everything else. Each claim has its turn with a seed,
/// then each with the next one.
fn hunt(bug: Bug, programs: &mut Programs, rules: Rules) -> anyhow::Result<Report> {
    let mut report = Report { bug, caught: None, seed: 0, trials: 0, took: Duration::ZERO };
    let (simulated, others): (Vec<&Hunt>, Vec<&Hunt>) =
        hunts(bug).iter().partition(|hunt| hunt.target == Target::Simulation);
    let half = if others.is_empty() { rules.budget } else { rules.budget / 2 };
    for (hunts, budget) in [(simulated, half), (others, rules.budget)] {
        // That they may have to be built is not the hunt's fault.
        for hunt in &hunts {
            programs.path(hunt.target)?;
        }
        let begun = Instant::now();
        let limits = Limits { hang: rules.hang, until: begun + budget.saturating_sub(report.took) };
        hunt_by(&hunts, &mut report, programs, rules.first_seed, limits)?;
        report.took += begun.elapsed();
        if report.caught.is_some() {
            break;
        }
    }
    Ok(report)
}

fn hunt_by(
    hunts: &[&Hunt],
    report: &mut Report,
    programs: &mut Programs,
    first_seed: u64,
    limits: Limits,
) -> anyhow::Result<()> {
    if hunts.is_empty() {
        return Ok(());
    }
    let turns = (first_seed..).flat_map(|seed| hunts.iter().map(move |hunt| (seed, *hunt)));
    for (seed, hunt) in turns.take_while(|_| Instant::now() < limits.until) {
        let outcome = trial::run(programs.path(hunt.target)?, hunt, seed, Some(report.bug), limits)?;
        (report.trials, report.seed) = (report.trials + 1, seed);
        let noticed = match outcome {
            Outcome::Passed => continue,
            Outcome::OutOfTime => return Ok(()),
            Outcome::Noticed(what) => what,
            Outcome::Hung => "it never ends".into(),
        };
        report.caught = Some((*hunt, noticed));
        return Ok(());
    }
    Ok(())
}

/// Tries a claim without any bug, with so many seeds. Gives the seed with which something was noticed all the same.
fn control(hunt: &Hunt, programs: &mut Programs, rules: Rules, seeds: u64) -> anyhow::Result<Option<(u64, Outcome)>> {
    let program = programs.path(hunt.target)?;
    for seed in (rules.first_seed..).take(usize::try_from(seeds)?) {
        let limits = Limits { hang: rules.hang, until: Instant::now() + rules.hang * 2 };
        let outcome = trial::run(program, hunt, seed, None, limits)?;
        if outcome != Outcome::Passed {
            return Ok(Some((seed, outcome)));
        }
    }
    Ok(None)
}

/// Hunts all of `bugs` and prints the table. Whether all were caught.
///
/// # Errors
/// When the programs that hunt cannot be built or started.
pub(crate) fn hunt_all(bugs: &[Bug], rules: Rules) -> anyhow::Result<bool> {
    let mut programs = programs(bugs)?;
    let mut reports = Vec::new();
    for bug in bugs {
        let report = hunt(*bug, &mut programs, rules)?;
        report::tell(&report);
        reports.push(report);
    }
    report::print(&reports);
    Ok(reports.iter().all(|report| report.caught.is_some()))
}

/// Tries all claims that hunt `bugs` without any bug. Whether nothing was noticed.
///
/// # Errors
/// When the programs that hunt cannot be built or started.
pub(crate) fn control_all(bugs: &[Bug], rules: Rules, seeds: u64) -> anyhow::Result<bool> {
    let mut programs = programs(bugs)?;
    let all: BTreeSet<Hunt> = bugs.iter().flat_map(|bug| hunts(*bug)).copied().collect();
    let mut is_well = true;
    for hunt in &all {
        let begun = Instant::now();
        let noticed = control(hunt, &mut programs, rules, seeds)?;
        let (claim, took) = (report::short(hunt.claim), begun.elapsed().as_secs_f64());
        match &noticed {
            None => eprintln!("{claim}: nothing with {seeds} seeds, {took:.1} s"),
            Some((seed, outcome)) => println!("{claim} noticed something WITHOUT a bug, seed {seed}: {outcome:?}"),
        }
        is_well &= noticed.is_none();
    }
    println!("{} claims tried without a bug: {}", all.len(), if is_well { "nothing noticed" } else { "see above" });
    Ok(is_well)
}

fn programs(bugs: &[Bug]) -> anyhow::Result<Programs> {
    Programs::new(bugs.iter().flat_map(|bug| hunts(*bug)).map(|hunt| hunt.target))
}
