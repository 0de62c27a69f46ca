//! One run: a cluster, clients, faults; then everything is whole again and must serve; then the verdict.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use clap::Parser;
use quorate_harness::findings::{Answer, Check, Findings};
use quorate_harness::report;
use quorate_harness::run::Run;
use serde_json::json;
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::admin::{Admin, SHARDS, until};
use crate::clients::{Directory, Work, Workload, read_all, work};
use crate::contents::contents;
use crate::faults::{Fault, Target};
use crate::judge;
use crate::nemesis::{Nemesis, Plan};
use crate::nodes::Nodes;
use crate::recorder::Recorder;
use crate::screen::Screen;

/// How many operations of clients have to end well when all is whole again.
const SERVED_AGAIN: u64 = 20;

/// Server processes on this machine, under load and faults, judged and reported.
#[derive(Clone, Debug, Parser)]
#[command(name = "quorate-real", version)]
pub(crate) struct Flags {
    /// What clients do.
    #[arg(short, long, value_enum, default_value_t = Workload::Kv)]
    workload: Workload,
    /// How many nodes. Each of two groups is on three of them, and so is the configuration log.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..100))]
    nodes: u64,
    /// How many clients work at the same time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    clients: u64,
    /// How many operations a second all clients try together.
    #[arg(long, value_name = "HZ", default_value_t = 100.0)]
    rate: f64,
    /// How many seconds.
    #[arg(long, value_name = "S", default_value_t = 30)]
    time_limit: u64,
    /// What is done to the nodes, one after the other: kill, pause, cut, clock, roll, replace, disk, moves, with commas between;
    /// or all. Without it, nothing.
    #[arg(long, value_name = "KINDS", value_parser = Kinds::parse, default_value = "", hide_default_value = true)]
    nemesis: Kinds,
    /// The run ends when each kind has had so many turns, if the time is not over before.
    #[arg(long, value_name = "N", requires = "nemesis")]
    rounds: Option<u64>,
    /// Whom kills, pauses and cuts befall. Without it, any of these.
    #[arg(long, value_name = "TARGETS", value_enum, value_delimiter = ',')]
    targets: Vec<Target>,
    /// How many seconds a fault lasts, and how long it is quiet then, on average.
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    nemesis_interval: f64,
    /// A leader that is silent for so long is replaced. On a busy machine, give it more.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(30..))]
    election_timeout_ms: u64,
    /// What decides what clients and faults do; when it happens depends on the machine.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Where runs are kept, each in <workload>/<time>.
    #[arg(long, value_name = "DIR", default_value = "store")]
    store: PathBuf,
    /// The program `quorate`; the one beside this program if it is left out.
    #[arg(long, value_name = "PATH")]
    bin: Option<PathBuf>,
}

/// Kinds of faults.
#[derive(Clone, Debug)]
struct Kinds(Vec<Fault>);

impl Kinds {
    fn parse(text: &str) -> Result<Kinds, String> {
        if text == "all" {
            return Ok(Kinds(Fault::ALL.to_vec()));
        }
        let names = text.split(',').filter(|name| !name.is_empty());
        let kinds = names.map(|name| <Fault as clap::ValueEnum>::from_str(name, false));
        let known = || Fault::ALL.map(|fault| fault.to_string()).join(", ");
        kinds.collect::<Result<_, _>>().map(Kinds).map_err(|_| format!("the kinds are {}, or all", known()))
    }
}

impl Flags {
    fn plan(&self, seed: u64) -> anyhow::Result<Plan> {
        let interval = Duration::try_from_secs_f64(self.nemesis_interval).context("--nemesis-interval")?;
        let targets = if self.targets.is_empty() { Target::ANY.to_vec() } else { self.targets.clone() };
        Ok(Plan { faults: self.nemesis.0.clone(), targets, interval, rounds: self.rounds, seed })
    }

    /// The time between a client's operations, on average.
    fn pause(&self) -> anyhow::Result<Duration> {
        if self.clients == 0 || self.rate.is_nan() || self.rate <= 0.0 {
            bail!("nobody does anything: --clients and --rate are above 0");
        }
        Duration::try_from_secs_f64(self.clients as f64 / self.rate).context("--rate")
    }

    /// The servers' program.
    fn program(&self) -> anyhow::Result<PathBuf> {
        if let Some(bin) = &self.bin {
            return bin.canonicalize().with_context(|| bin.display().to_string());
        }
        let own = std::env::current_exe()?;
        let names = ["quorate-process", "quorate"].map(|name| own.with_file_name(name));
        let found = names.into_iter().find(|path| path.exists());
        found.context("the program quorate is not beside this one: name it with --bin")
    }
}

/// Does it, and says what came of it.
///
/// # Errors
/// When there is no verdict: the cluster could not be started, a node could not be started again, the report could not be
/// written, or the run was interrupted.
pub(crate) async fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let seed = flags.seed.unwrap_or_else(rand::random);
    let (plan, screen, recorder) = (flags.plan(seed)?, Screen::new(), Recorder::new());
    // Removed whatever way this ends, once the processes are gone.
    let dir = tempfile::Builder::new().prefix("quorate-real-").tempdir()?;
    let (interrupts, ends) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    screen.say(&format!("{} on {} nodes, seed {seed}", flags.workload.name(), flags.nodes));

    let started = SystemTime::now();
    let shown = tokio::spawn(screen.clone().show(recorder.clone(), Duration::from_secs(flags.time_limit)));
    let driven = tokio::select! {
        driven = drive(flags, plan, dir.path(), &recorder, &screen) => driven,
        () = interrupted(interrupts, ends) => Err(anyhow::anyhow!("interrupted")),
    };
    shown.abort();
    screen.clear();

    let length = recorder.now();
    let (events, faults) = recorder.take();
    let settings = json!({
        "seed": seed,
        "nodes": flags.nodes,
        "clients": flags.clients,
        "rate": flags.rate,
        "time_limit_s": flags.time_limit,
        "nemesis": flags.nemesis.0.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "targets": flags.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "rounds": flags.rounds,
        "nemesis_interval_s": flags.nemesis_interval,
        "election_timeout_ms": flags.election_timeout_ms,
        "shards": SHARDS,
    });
    let workload = flags.workload.name().to_owned();
    let run = Run { workload, started, length, settings, events, faults, messages: Vec::new() };
    let mut checks = vec![judge::linearizability(&run.events), judge::exactly_once(&run.events)];
    let trouble = match driven {
        Ok(others) => {
            checks.extend(others);
            None
        }
        Err(error) => {
            checks.push(Check::new("run", Answer::Unknown, format!("{error:#}")));
            Some(error)
        }
    };
    checks.push(judge::stats(&run.events));
    let findings = Findings { checks };
    let directory = report::write(&flags.store, &run, &findings)?;
    keep_logs(dir.path(), &directory)?;
    tell(&run, &findings);
    match (&trouble, findings.answer()) {
        (None, Answer::False) => println!("the nodes' files: {}", dir.keep().display()),
        _ => discard(dir).await,
    }
    println!("{}", directory.join("index.html").display());
    match trouble {
        // A run that was cut short has no verdict, whatever was seen of it.
        Some(trouble) => Err(trouble),
        None => Ok(findings.answer()),
    }
}

/// Drives the cluster, and says what was to be seen when everything was over.
async fn drive(
    flags: &Flags,
    plan: Plan,
    dir: &Path,
    recorder: &Recorder,
    screen: &Screen,
) -> anyhow::Result<Vec<Check>> {
    recorder.enter("starting");
    let mut nodes = Nodes::describe(&flags.program()?, dir, flags.nodes, flags.election_timeout_ms).await?;
    for id in nodes.ids() {
        nodes.start(id)?;
    }
    Admin::new(&nodes.clients())?.join().await.with_context(|| said(&nodes))?;

    recorder.enter("load");
    let directory = Directory::default();
    directory.set(nodes.clients());
    let (seed, stop) = (plan.seed, Arc::new(AtomicBool::new(false)));
    let shared = Arc::new(Work {
        workload: flags.workload,
        recorder: recorder.clone(),
        directory: directory.clone(),
        pause: flags.pause()?,
        operations: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    });
    // Dropped, a set of tasks ends these: nobody goes on when this does not.
    let mut clients = JoinSet::new();
    (0..flags.clients).for_each(|nth| drop(clients.spawn(work(Arc::clone(&shared), nth, seed))));
    let nemesis = Nemesis::new(nodes, plan, recorder.clone(), directory, screen.clone(), Arc::clone(&stop));
    let mut nemesis = Box::pin(nemesis.run());
    let failed = tokio::select! {
        failed = &mut nemesis => Some(failed),
        () = tokio::time::sleep(Duration::from_secs(flags.time_limit)) => None,
    };
    stop.store(true, Ordering::Relaxed);
    let mut nodes = match failed {
        Some(failed) => failed?,
        None => nemesis.await?,
    };
    recorder.enter("healing");
    let healed = heal(&shared, &nodes).await?;
    shared.stop.store(true, Ordering::Relaxed);
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let mut checks =
        vec![if healed.answer == Answer::True { last_reads(&shared, &nodes, healed).await? } else { healed }];
    checks.push(owners(&nodes, recorder).await?);
    nodes.attend()?;
    for id in nodes.ids() {
        nodes.terminate(id).await;
    }
    let mut wrongs = std::mem::take(&mut nodes.wrongs);
    wrongs.extend(panics(dir));
    checks.push(judge::nodes(wrongs));
    Ok(checks)
}

/// The last that nodes have logged.
fn said(nodes: &Nodes) -> String {
    let logs = nodes.ids().into_iter().map(|id| format!("n{id}: {}", nodes.last_lines(id)));
    logs.collect::<Vec<_>>().join("\n")
}

/// Waits until every node answers for every key in use, and clients get on with their work.
async fn heal(work: &Work, nodes: &Nodes) -> anyhow::Result<Check> {
    let (name, begun) = ("healing", work.recorder.now());
    for (id, address) in nodes.clients() {
        let read = until(async || Ok(read_all(work, id, &address, &work.keys()).await?.then_some(())));
        if let Err(error) = read.await {
            return Ok(Check::new(name, Answer::False, format!("n{id} does not serve: {error:#}")));
        }
    }
    let took = work.recorder.now().saturating_sub(begun);
    let ended_well = || work.recorder.glance().ends[0];
    let enough = ended_well() + SERVED_AGAIN;
    if let Err(error) = until(async || Ok((ended_well() >= enough).then_some(()))).await {
        return Ok(Check::new(name, Answer::False, format!("clients are not served: {error:#}")));
    }
    Ok(Check::new(name, Answer::True, format!("every node served {took:.1?} after the last fault")))
}

/// Reads all that is judged by how it was in the end, from each node.
async fn last_reads(work: &Work, nodes: &Nodes, healed: Check) -> anyhow::Result<Check> {
    let keys = [work.keys(), work.lists()].concat();
    for (id, address) in nodes.clients() {
        if let Err(error) = until(async || Ok(read_all(work, id, &address, &keys).await?.then_some(()))).await {
            return Ok(Check::new(healed.name, Answer::False, format!("n{id} serves no more: {error:#}")));
        }
    }
    Ok(healed)
}

/// Waits until nothing moves, and looks at what each group holds.
async fn owners(nodes: &Nodes, recorder: &Recorder) -> anyhow::Result<Check> {
    let admin = Admin::new(&nodes.clients())?;
    Ok(match until(async || contents(&admin).await.map(Some)).await {
        Ok(contents) => judge::ownership(&contents, &recorder.events()),
        Err(error) => Check::new("ownership", Answer::False, format!("shards do not come to rest: {error:#}")),
    })
}

/// The logs of the nodes below `dir`.
fn logs(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
}

/// Which nodes' code has panicked, whether they ended of it or not.
fn panics(dir: &Path) -> Vec<String> {
    let panicked = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("panicked at"))?.to_owned();
        Some(format!("{}: {line}", path.file_name().unwrap_or_default().to_string_lossy()))
    };
    logs(dir).filter_map(panicked).collect()
}

/// Keeps what the nodes have logged with the report.
fn keep_logs(dir: &Path, directory: &Path) -> anyhow::Result<()> {
    let kept = directory.join("node-logs");
    fs::create_dir_all(&kept)?;
    for log in logs(dir) {
        fs::copy(&log, kept.join(log.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

/// Removes the nodes' files, which those that were just killed may still hold.
async fn discard(dir: TempDir) {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        if fs::remove_dir_all(dir.path()).is_ok() || !dir.path().exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Says what was done and found, each thing on a line.
fn tell(run: &Run, findings: &Findings) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for fault in &run.faults {
        *counts.entry(&fault.kind).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("{:>16}: {}", "faults", if counts.is_empty() { "none".to_owned() } else { counts.join(", ") });
    for check in &findings.checks {
        println!("{:>16}: {} ({})", check.name, check.answer.word(), check.reason);
    }
}

/// Waits for Ctrl-C, or until this process is told to end.
async fn interrupted(mut interrupts: Signal, mut ends: Signal) {
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = ends.recv() => {}
    }
}
