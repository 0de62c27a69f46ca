//! What the binary `quorate-sim` does, for any list of scenarios: runs seeds, replays plans, and tells failures as stories.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::counts::Counts;
use super::outcome::Outcome;
use super::plan::Plan;
use super::run::{Recording, run_plan};
use super::scenario::Scenario;
use super::shrink::shrink;
use super::story::story;

/// How many smaller plans are tried for a failing one.
const BUDGET: usize = 300;

/// Simulates clusters: one seed decides everything, and the same seed does the same again.
#[derive(Clone, Debug, Parser)]
pub struct Options {
    /// The scenario, or `all`
    #[arg(long, default_value = "all")]
    pub scenario: String,
    /// Run this seed alone, or begin with it
    #[arg(long)]
    pub seed: Option<u64>,
    /// How many seeds of each scenario
    #[arg(long)]
    pub seeds: Option<u64>,
    /// How long to go on, at most; begins no seed after that
    #[arg(long)]
    pub minutes: Option<f64>,
    /// How many runs at the same time
    #[arg(long, default_value_t = 2)]
    pub jobs: usize,
    /// Write the trace of the run into this file (with --seed or --replay)
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Run the plan in this file
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// List the scenarios
    #[arg(long)]
    pub list: bool,
    /// Where plans and stories of failing runs go
    #[arg(long, value_name = "DIR", default_value = "store/simulation")]
    pub store: PathBuf,
}

/// All runs of one scenario.
#[derive(Default)]
struct Sum {
    seeds: u64,
    simulated: Duration,
    cpu: Duration,
    counts: Counts,
    failures: u64,
}

/// Does what the options say. Gives 0 when nothing was wrong, 1 when something was, 2 when the options make no sense.
pub fn run(scenarios: &[&'static dyn Scenario], options: &Options) -> ExitCode {
    match try_run(scenarios, options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

fn try_run(scenarios: &[&'static dyn Scenario], options: &Options) -> io::Result<bool> {
    if options.list {
        for scenario in scenarios {
            println!("{:<16} {}", scenario.name(), scenario.about());
        }
        return Ok(true);
    }
    if let Some(file) = &options.replay {
        let plan: Plan = serde_json::from_slice(&std::fs::read(file)?)?;
        let scenario = find(scenarios, &plan.scenario)?;
        return one(scenario, &plan, options);
    }
    let chosen = match options.scenario.as_str() {
        "all" => scenarios.to_vec(),
        name => vec![find(scenarios, name)?],
    };
    match (options.seed, options.seeds, options.minutes) {
        (Some(seed), None, None) => {
            let mut is_ok = true;
            for scenario in chosen {
                is_ok &= one(scenario, &Plan::draw(scenario, seed), options)?;
            }
            Ok(is_ok)
        }
        _ => many(&chosen, options),
    }
}

fn find(scenarios: &[&'static dyn Scenario], name: &str) -> io::Result<&'static dyn Scenario> {
    let found = scenarios.iter().find(|scenario| scenario.name() == name);
    found.copied().ok_or_else(|| io::Error::other(format!("there is no scenario {name}; see --list")))
}

/// One plan, told in full.
fn one(scenario: &dyn Scenario, plan: &Plan, options: &Options) -> io::Result<bool> {
    let recording = if options.trace.is_some() { Recording::Trace } else { Recording::Report };
    let outcome = run_plan(scenario, plan, recording);
    if let Some(file) = &options.trace {
        let mut text = outcome.trace.join("\n");
        text.push('\n');
        std::fs::write(file, text)?;
    }
    print!("{}", story(&outcome));
    let (hash, lines) = outcome.trace_hash;
    println!("trace {hash:016x} of {lines} lines, {:.3} s simulated", outcome.simulated.as_secs_f64());
    for violation in &outcome.violations {
        println!("WRONG {violation}");
    }
    Ok(outcome.is_ok())
}

fn many(scenarios: &[&'static dyn Scenario], options: &Options) -> io::Result<bool> {
    let seeds = options.seeds.unwrap_or(if options.minutes.is_some() { u64::MAX } else { 100 });
    let first = options.seed.unwrap_or(0);
    let total = seeds.saturating_mul(scenarios.len() as u64);
    let start = Instant::now();
    let deadline = options.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let progress = progress(total);
    let next = AtomicU64::new(0);
    let is_over = AtomicBool::new(false);
    let sums: Mutex<Vec<Sum>> = Mutex::new(scenarios.iter().map(|_| Sum::default()).collect());
    let failures: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= total || deadline.is_some_and(|deadline| start.elapsed() >= deadline) {
                        return;
                    }
                    // The scenarios take turns, so that a run that ends early has seen all of them.
                    let (which, seed) = ((nth % scenarios.len() as u64) as usize, first + nth / scenarios.len() as u64);
                    let began = Instant::now();
                    let outcome = run_plan(scenarios[which], &Plan::draw(scenarios[which], seed), Recording::Hash);
                    let mut sums = lock(&sums);
                    let sum = &mut sums[which];
                    sum.seeds += 1;
                    sum.simulated += outcome.simulated;
                    sum.cpu += began.elapsed();
                    sum.counts.add(&outcome.counts);
                    sum.failures += u64::from(!outcome.is_ok());
                    drop(sums);
                    progress.inc(1);
                    if let Some(violation) = outcome.violation() {
                        progress.suspend(|| println!("{} seed {seed}: {violation}", scenarios[which].name()));
                        let mut failures = lock(&failures);
                        failures.push((which, outcome));
                        // Enough to look at.
                        is_over.fetch_or(failures.len() >= 10, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    progress.finish_and_clear();
    let sums = sums.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    println!("{}", table(scenarios, &sums));
    println!("{}", faults(&sums));
    println!("{:.1} s", start.elapsed().as_secs_f64());
    let failures = failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    // One story for each way of failing.
    let mut told: Vec<(usize, String)> = Vec::new();
    for (which, outcome) in &failures {
        let Some(violation) = outcome.violation() else { continue };
        let way = (*which, violation.property.clone());
        if !told.contains(&way) {
            told.push(way);
            tell(scenarios[*which], outcome, &options.store)?;
        }
    }
    Ok(failures.is_empty())
}

/// Makes a failure smaller, tells it, and keeps it.
fn tell(scenario: &dyn Scenario, outcome: &Outcome, store: &Path) -> io::Result<()> {
    println!("\nshrinking {} seed {} ...", scenario.name(), outcome.plan.seed);
    let shrunken = shrink(scenario, outcome, BUDGET);
    let smaller = &shrunken.outcome;
    let text = story(smaller);
    println!("{text}after {} smaller plans", shrunken.tried);
    let file = keep(smaller, store)?;
    println!("again: quorate-sim --replay {}", file.display());
    println!("the whole of it: quorate-sim --scenario {} --seed {}", scenario.name(), outcome.plan.seed);
    io::stdout().flush()
}

/// Writes a failing plan, its story and its trace into files; gives the plan's.
pub(crate) fn keep(outcome: &Outcome, store: &Path) -> io::Result<PathBuf> {
    std::fs::create_dir_all(store)?;
    let Plan { scenario, seed, .. } = &outcome.plan;
    let path = |end: &str| store.join(format!("{scenario}-{seed}.{end}"));
    std::fs::write(path("json"), serde_json::to_vec_pretty(&outcome.plan)?)?;
    std::fs::write(path("txt"), story(outcome))?;
    std::fs::write(path("trace"), outcome.trace.join("\n"))?;
    Ok(path("json"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn progress(total: u64) -> ProgressBar {
    let bar = if total == u64::MAX { ProgressBar::no_length() } else { ProgressBar::new(total) };
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{elapsed} {bar:40} {pos}/{len} seeds, {per_sec}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn table(scenarios: &[&'static dyn Scenario], sums: &[Sum]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["scenario", "seeds", "wrong", "simulated", "ok", "failed", "unknown", "messages", "ms/seed"]);
    for (scenario, sum) in scenarios.iter().zip(sums) {
        let Counts { ok, failed, unknown, messages, .. } = &sum.counts;
        let each = sum.cpu.as_secs_f64() * 1e3 / sum.seeds.max(1) as f64;
        let mut row = vec![scenario.name().to_owned()];
        row.extend([sum.seeds, sum.failures].map(|number| number.to_string()));
        row.push(format!("{:.0} s", sum.simulated.as_secs_f64()));
        row.extend([ok, failed, unknown, messages].map(|number| number.to_string()));
        row.push(format!("{each:.0}"));
        table.add_row(row);
    }
    table
}

fn faults(sums: &[Sum]) -> Table {
    let mut all = Counts::default();
    sums.iter().for_each(|sum| all.add(&sum.counts));
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["what went wrong", "times"]);
    for (kind, times) in &all.faults {
        table.add_row([kind.clone(), times.to_string()]);
    }
    for (property, times) in &all.checks {
        table.add_row([format!("checked: {property}"), times.to_string()]);
    }
    table
}
