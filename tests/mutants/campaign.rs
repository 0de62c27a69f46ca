//! The hunt for one bug: every claim that could notice it, seed after seed, until one does or the time is up.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use quorate::planted::Bug;

use super::hunts::{Hunt, QUICK, hunts};
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
    /// Who hunts.
    pub(crate) by: By,
}

/// Who hunts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// All claims that there are.
    All,
    /// The simulation alone, which this program holds: nothing has to be built.
    Simulation,
    /// Of the simulation, what is known to notice the bug soon.
    Sample,
}

impl Rules {
    fn hunts(self, bug: Bug) -> impl Iterator<Item = &'static Hunt> {
        let known = QUICK.iter().find(|(known, _)| *known == bug).map(|(_, hunt)| hunt);
        hunts(bug).iter().filter(move |hunt| match self.by {
            By::All => true,
            By::Simulation => hunt.target == Target::Simulation,
            By::Sample => known == Some(*hunt),
        })
    }
}

/// What became of a bug.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) bug: Bug,
    /// What noticed it, and what was said; nothing if it got away.
    pub(crate) caught: Option<(Hunt, String)>,
    /// How many seeds that took.
    pub(crate) seeds: u64,
    /// How many trials: those of the claims that had their turn before and did not notice it count, too.
    pub(crate) trials: u64,
    pub(crate) took: Duration,
}

/// Hunts a bug: each claim has its turn with a seed, in their order, then each with the next one.
fn hunt(bug: Bug, programs: &mut Programs, rules: Rules) -> anyhow::Result<Report> {
    let mut report = Report { bug, caught: None, seeds: 0, trials: 0, took: Duration::ZERO };
    let mut begun = Instant::now();
    let turns = (1..).flat_map(|seeds| rules.hunts(bug).map(move |hunt| (seeds, hunt)));
    for (seeds, hunt) in turns {
        let asked = Instant::now();
        let program = programs.path(hunt.target)?;
        // That it may have to be built is not the hunt's fault.
        begun += asked.elapsed();
        let limits = Limits { hang: rules.hang, until: begun + rules.budget };
        let outcome = trial::run(program, hunt, rules.first_seed + seeds - 1, Some(bug), limits)?;
        (report.seeds, report.trials, report.took) = (seeds, report.trials + 1, begun.elapsed());
        let noticed = match outcome {
            Outcome::Passed if report.took < rules.budget => continue,
            Outcome::Passed | Outcome::OutOfTime => break,
            Outcome::Noticed(what) => what,
            Outcome::Hung => "it never ends".into(),
        };
        report.caught = Some((*hunt, noticed));
        break;
    }
    Ok(report)
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
    let mut programs = programs(bugs, rules)?;
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
    let mut programs = programs(bugs, rules)?;
    let all: BTreeSet<Hunt> = bugs.iter().flat_map(|bug| rules.hunts(*bug)).copied().collect();
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

fn programs(bugs: &[Bug], rules: Rules) -> anyhow::Result<Programs> {
    Programs::new(bugs.iter().flat_map(|bug| rules.hunts(*bug)).map(|hunt| hunt.target))
}
