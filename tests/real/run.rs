//! One run: a cluster, clients, faults; then everything is whole again and must serve; then the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use quorate_harness::findings::{Answer, Check, Findings};
use quorate_harness::report;
use quorate_harness::run::Run;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use crate::admin::Admin;
use crate::clients::{Directory, Work, work};
use crate::flags::Flags;
use crate::healing::{heal, last_reads, owners};
use crate::judge;
use crate::nemesis::{Nemesis, Plan};
use crate::nodes::Nodes;
use crate::recorder::Recorder;
use crate::remains::{discard, keep_logs, panics};
use crate::screen::Screen;

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
    let workload = flags.workload.name().to_owned();
    let run = Run { workload, started, length, settings: flags.settings(seed), events, faults, messages: Vec::new() };
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
