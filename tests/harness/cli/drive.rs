//! Nodes that speak JSON lines, driven from the command line: flags, progress, what is printed and kept, whatever the workload.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::progress::{self, Screen};
use crate::findings::{Answer, Findings};
use crate::report;
use crate::stdio::latency::{Distribution, Latency};
use crate::stdio::nemesis::{Fault, NemesisOptions, Targets};
use crate::stdio::network::{Split, Weather};
use crate::stdio::processes::{Program, Trouble, Watch};
use crate::stdio::results::{Availability, findings};
use crate::stdio::runner::{Finished, Runner, Settings};
use crate::stdio::workload::Workload;
use crate::stdio::workloads::Row;

/// Where the nodes' directories are.
const DATA: &str = "node-data";
/// Where that is which they log.
const LOGS: &str = "node-logs";

/// How nodes are driven, whatever is asked of them.
#[derive(Args)]
pub(crate) struct DriveFlags {
    /// Run so many nodes: n0, n1, and so on. Without it, as many as are usual for the workload, from n1 on.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    node_count: Option<u16>,
    /// Run so many workers; 4n is four for each node. Without it, what the workload needs.
    #[arg(long, value_name = "N")]
    concurrency: Option<String>,
    /// Call so many operations a second, of all workers together.
    #[arg(long, value_name = "HZ", default_value_t = 5.0)]
    rate: f64,
    /// Call operations for so many seconds.
    #[arg(long, value_name = "S", default_value_t = 60.0)]
    time_limit: f64,
    /// The mean time, in milliseconds, that a message takes from node to node.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u32,
    /// How these times are distributed.
    #[arg(long, value_enum, default_value_t = Distribution::Constant)]
    latency_dist: Distribution,
    /// The part of the messages between nodes that is lost, from 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    p_loss: f64,
    /// The part of the messages between nodes that arrives twice, from 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    p_duplicate: f64,
    /// What comes and goes: one or several, with commas between.
    #[arg(long, value_enum, value_delimiter = ',')]
    nemesis: Vec<Fault>,
    /// The mean time, in seconds, until a fault comes, and until it goes.
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    nemesis_interval: f64,
    /// How partitions run. Without it, in any of these ways.
    #[arg(long, value_enum, value_delimiter = ',')]
    partitions: Vec<Split>,
    /// How many nodes are killed or paused at once. Without it, any of these.
    #[arg(long, value_enum, value_delimiter = ',')]
    targets: Vec<Targets>,
    /// The mean time, in seconds, between moves, failovers and the like, in workloads that have them.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    operator_interval: f64,
    /// Decides which operations each worker calls, which faults come when, and how long messages take.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Run it so often, with one seed after the other, until one run is not good.
    #[arg(long, value_name = "N", default_value_t = 1)]
    test_count: u64,
    /// Demand that so many operations end well: total, or a part from 0 to 1.
    #[arg(long, value_name = "PART")]
    availability: Option<Availability>,
    /// Show what the nodes log.
    #[arg(long)]
    log_stderr: bool,
    /// Remember the first so many things that happen to messages.
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    journal: usize,
    /// Where runs are kept, each in <workload>/<time>.
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
    /// Keep the nodes' directories with the run, too, in node-data.
    #[arg(long)]
    keep_data: bool,
}

impl DriveFlags {
    /// How the workload is run; of `usual` nodes if nobody says otherwise, and as `row` has it.
    fn settings(&self, plan: &Plan, workload: &dyn Workload, seed: u64) -> anyhow::Result<Settings> {
        let (usual, row) = (plan.usual, plan.row);
        let nodes: Vec<String> = match self.node_count.or(row.map(Row::nodes)) {
            Some(count) => (0..count).map(|nth| format!("n{nth}")).collect(),
            None => (1..=usual).map(|nth| format!("n{nth}")).collect(),
        };
        let workers = match (&self.concurrency, row) {
            (Some(text), _) => concurrency(text, nodes.len()).context("--concurrency")?,
            (None, Some(row)) => row.clients(),
            (None, None) => workload.workers(nodes.len()),
        };
        workload.fits(nodes.len(), workers).map_err(anyhow::Error::msg)?;
        let mean = Duration::from_millis(u64::from(self.latency));
        let mut weather = Weather {
            latency: Latency { mean, distribution: self.latency_dist },
            lost: part(self.p_loss).context("--p-loss")?,
            doubled: part(self.p_duplicate).context("--p-duplicate")?,
        };
        let mut nemesis = NemesisOptions {
            faults: self.nemesis.clone(),
            interval: seconds(self.nemesis_interval).context("--nemesis-interval")?,
            ..NemesisOptions::default()
        };
        if !self.partitions.is_empty() {
            nemesis.splits.clone_from(&self.partitions);
        }
        if !self.targets.is_empty() {
            nemesis.targets.clone_from(&self.targets);
        }
        if let Some(row) = row {
            weather = row.weather(weather);
            nemesis.faults.extend(row.faults());
        }
        nemesis.faults.sort_unstable();
        nemesis.faults.dedup();
        Ok(Settings {
            nodes,
            workers,
            rate: if self.rate > 0.0 { self.rate } else { bail!("--rate is above 0") },
            time_limit: seconds(self.time_limit).context("--time-limit")?,
            weather,
            nemesis,
            operator_interval: seconds(self.operator_interval).context("--operator-interval")?,
            seed,
            remembered: self.journal,
        })
    }
}

fn part(part: f64) -> anyhow::Result<f64> {
    if (0.0..=1.0).contains(&part) { Ok(part) } else { bail!("a part is between 0 and 1") }
}

fn seconds(seconds: f64) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(seconds)?)
}

/// A number of workers: `12`, or `4n` for four times the number of nodes.
fn concurrency(text: &str, nodes: usize) -> anyhow::Result<usize> {
    let count = match text.strip_suffix('n') {
        Some(times) => times.parse::<usize>()?.saturating_mul(nodes),
        None => text.parse()?,
    };
    if count > 0 { Ok(count) } else { bail!("there is one worker at least") }
}

/// What is driven.
pub(crate) struct Plan {
    /// What is asked of the nodes.
    pub(crate) workload: Box<dyn Fn() -> Arc<dyn Workload>>,
    /// The number of nodes if nobody says otherwise.
    pub(crate) usual: u16,
    /// Whose settings it takes, if it is one of the course's tests.
    pub(crate) row: Option<Row>,
    /// The program that each node runs.
    pub(crate) bin: PathBuf,
    /// What it is told.
    pub(crate) args: Vec<String>,
}

/// Runs the workload as often as was asked for, and says what came of it.
pub(crate) fn run(flags: &DriveFlags, plan: &Plan) -> anyhow::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let first: u64 = flags.seed.unwrap_or_else(rand::random);
    for nth in 0..flags.test_count {
        let answer = runtime.block_on(run_once(flags, plan, first.wrapping_add(nth)))?;
        if answer != Answer::True {
            return Ok(answer);
        }
    }
    Ok(Answer::True)
}

async fn run_once(flags: &DriveFlags, plan: &Plan, seed: u64) -> anyhow::Result<Answer> {
    let workload = (plan.workload)();
    let settings = flags.settings(plan, &*workload, seed)?;
    let bin = plan.bin.canonicalize().with_context(|| plan.bin.display().to_string())?;
    // Removed whatever way this ends, once the processes are gone.
    let scratch = tempfile::Builder::new().prefix("quorate-jepsen-").tempdir()?;
    let path = |name: &str| scratch.path().join(name);
    let (args, log_stderr) = (plan.args.clone(), flags.log_stderr);
    let program = Program { bin, args, data: path(DATA), logs: path(LOGS), log_stderr };

    let screen = Screen::new();
    screen.say(&format!("{} on {} nodes, seed {seed}", workload.name(), settings.nodes.len()));
    let watch = Watch::new({
        let screen = screen.clone();
        move |text| screen.say(text)
    });
    // From here on no signal ends the process before the nodes' processes have ended.
    let (interrupts, ends) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let runner = Runner::new(settings.clone(), program, Arc::clone(&workload), watch.clone());
    let interrupted = tokio::spawn(raise_when_interrupted(watch, interrupts, ends));
    let shown = tokio::spawn(progress::show(screen.clone(), runner.record(), settings.time_limit));
    let mut finished = runner.run().await;
    interrupted.abort();
    shown.abort();
    screen.clear();

    finished.run.settings["bin"] = json!(plan.bin.display().to_string());
    finished.run.settings["args"] = json!(plan.args);
    let findings = findings(&finished, &*workload, flags.availability);
    let directory = report::write(&flags.store, &finished.run, &findings)?;
    keep(scratch.path(), &directory, flags.keep_data)?;
    tell(&finished, &findings);
    println!("{}", directory.join("index.html").display());
    match finished.trouble {
        // A run that was cut short has no verdict, whatever was seen of it.
        Some(trouble) => bail!("{trouble}"),
        None => println!("{}", last_line(findings.answer())),
    }
    Ok(findings.answer())
}

/// Moves what the nodes have left to where the run is kept.
fn keep(scratch: &Path, directory: &Path, data: bool) -> anyhow::Result<()> {
    let copy = |name: &str| copy_all(&scratch.join(name), &directory.join(name)).context(name.to_owned());
    copy(LOGS)?;
    if data { copy(DATA) } else { Ok(()) }
}

/// Copies a directory, which may be on another disk, so it cannot just get another name.
fn copy_all(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    let Ok(entries) = fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// Says what was found, each thing on a line.
fn tell(finished: &Finished, findings: &Findings) {
    let mut faults: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in &finished.run.faults {
        *faults.entry(&fault.kind).or_default() += 1;
    }
    if !faults.is_empty() {
        let faults: Vec<_> = faults.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        println!("{:>18}: {}", "faults", faults.join(", "));
    }
    for check in &findings.checks {
        println!("{:>18}: {} ({})", check.name, check.answer.word(), check.reason);
        if check.name == "stats" {
            let by_f = check.details["by-f"].as_object();
            for (f, ends) in by_f.into_iter().flatten() {
                let count = |end: &str| ends[end].as_u64().unwrap_or_default();
                let (ok, fail, info) = (count("ok-count"), count("fail-count"), count("info-count"));
                println!("{:>18}  {f}: {ok} ok, {fail} failed, {info} unknown", "");
            }
        }
    }
}

fn last_line(answer: Answer) -> &'static str {
    match answer {
        Answer::True => "Everything looks good!",
        Answer::Unknown => "Errors occurred during analysis, but no anomalies found.",
        Answer::False => "Analysis invalid!",
    }
}

async fn raise_when_interrupted(watch: Watch, mut interrupts: Signal, mut ends: Signal) {
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = ends.recv() => {}
    }
    watch.raise(Trouble::Interrupted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_counted_alone_or_by_the_node() {
        let count = |text| concurrency(text, 3).ok();
        assert_eq!([count("7"), count("4n"), count("1n")], [Some(7), Some(12), Some(3)]);
        assert_eq!([count("0"), count("0n"), count("n"), count("-1"), count("x")], [None; 5]);
    }
}
