//! What clients notice of a failover: `cargo bench -p quorate-tests --bench failover`, with `-- 20` for
//! twenty failovers of each kind in place of a hundred.
//!
//! Eight clients create paths as fast as they are answered, and find the primary by the hints of the masters. A gap is the
//! longest time without any acknowledgement from before the failover is asked for, or the primary killed, until clients are
//! answered under the new epoch. Beside it stands what the operator was told, and the longest gap in an equal time without
//! a failover.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_harness::gaps::{Acknowledged, quantile};
use quorate_nodes::services::MasterOptions;
use quorate_nodes::services::master::{Command, Masters};
use quorate_nodes::stdio::{ErrorReply, Fault, FaultAction, Reply};
use quorate_statemachines::master::{FilePath, MasterOp};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client waits for one master before it asks another.
const ATTEMPT: Duration = Duration::from_secs(2);

/// What is done to the primary.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Planned,
    Killed,
    CutOff,
    /// Of two masters, killed; the operator has the other one go on alone.
    KilledOfTwo,
}

fn main() {
    // `cargo test` runs bench targets too, to see that they build: there is nothing to assert here.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!(
        "{:>12} {:>7} {:>6} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "primary", "masters", "times", "gap p50", "gap p99", "gap max", "quiet max", "told p50"
    );
    // `-- 20` for a quicker look.
    let times = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(100);
    let ways = [(Way::Planned, 3), (Way::Killed, 3), (Way::Planned, 2), (Way::KilledOfTwo, 2), (Way::CutOff, 3)];
    for (way, masters) in ways {
        runtime.block_on(measure(way, masters, times));
    }
}

async fn measure(way: Way, count: usize, times: usize) {
    let names: Arc<Vec<String>> = Arc::new((1..=count).map(|nth| format!("n{nth}")).collect());
    let masters = Masters::start(names.to_vec(), MasterOptions::default(), Box::new(|_, _, _| {})).await;
    let masters = masters.expect("masters");
    let working = Working::start(&masters, &names);
    let (mut gaps, mut told, mut quiet) = (Vec::new(), Vec::new(), Duration::ZERO);
    for _ in 0..times {
        whole(&masters, &names).await;
        let begun = Instant::now();
        tokio::time::sleep(Duration::from_millis(200)).await;
        quiet = quiet.max(working.acknowledged.longest_gap(begun, Instant::now()));

        let (primary, epoch) = office(&masters, &names).await;
        let at = names.iter().find(|name| **name != primary).expect("a shadow");
        let begun = Instant::now();
        match way {
            Way::Planned => told.extend(fail_over(&masters, at, &primary).await),
            Way::Killed => fault(&masters, &primary, FaultAction::Stop).await,
            Way::CutOff => fault(&masters, &primary, FaultAction::Isolate).await,
            Way::KilledOfTwo => {
                fault(&masters, &primary, FaultAction::Stop).await;
                told.extend(fail_over(&masters, at, &primary).await);
            }
        }
        while office(&masters, &names).await.1 == epoch {}
        tokio::time::sleep(Duration::from_millis(50)).await;
        gaps.push(working.acknowledged.longest_gap(begun, Instant::now()));
        match way {
            Way::Planned => {}
            Way::Killed | Way::KilledOfTwo => fault(&masters, &primary, FaultAction::Start).await,
            Way::CutOff => fault(&masters, &primary, FaultAction::Heal).await,
        }
    }
    working.stop().await;
    masters.shutdown().await;
    gaps.sort();
    told.sort();
    println!(
        "{:>12} {count:>7} {times:>6} {:>10.1?} {:>10.1?} {:>10.1?} {quiet:>10.1?} {:>10.1?}",
        format!("{way:?}"),
        quantile(&gaps, 0.5),
        quantile(&gaps, 0.99),
        quantile(&gaps, 1.0),
        quantile(&told, 0.5),
    );
}

/// Clients at work, and when each acknowledgement came.
struct Working {
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Working {
    fn start(masters: &Arc<Masters>, names: &Arc<Vec<String>>) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Acknowledged::default());
        let clients = (0..CLIENTS)
            .map(|client| {
                let (masters, names) = (Arc::clone(masters), Arc::clone(names));
                let (stop, acknowledged) = (Arc::clone(&stop), acknowledged.clone());
                tokio::spawn(async move {
                    let who = format!("c{client}");
                    let mut nth = 0;
                    for number in 0u64.. {
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                        let path = FilePath::new(format!("/{who}/{number}")).expect("a path");
                        let op = MasterOp::Create { path };
                        let _ = insist(&masters, &names, &mut nth, &who, op).await;
                        acknowledged.note();
                    }
                })
            })
            .collect();
        Working { stop, acknowledged, clients }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
    }
}

/// Asks one master after the other, the one that was named first, until one has answered for the primary. An answer that
/// was lost is asked for again: the path may then be there already.
async fn insist(
    masters: &Arc<Masters>,
    names: &[String],
    nth: &mut usize,
    who: &str,
    op: MasterOp,
) -> Result<Reply, ErrorReply> {
    let begun = Instant::now();
    loop {
        let command = Command::Change { op: op.clone(), claimed: None, session: None };
        let deadline = tokio::time::Instant::now() + ATTEMPT;
        let error = match masters.call(&names[*nth], who, command, deadline).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        if !matches!(error.code.number(), 0 | 11 | 13) {
            return Err(error);
        }
        assert!(begun.elapsed() < TIMEOUT, "{error}");
        let hint = error.hints.iter().find(|(name, _)| name == "primary").and_then(|(_, primary)| primary.as_str());
        match hint.and_then(|primary| names.iter().position(|name| name == primary)) {
            Some(hinted) if hinted != *nth => *nth = hinted,
            _ => {
                *nth = (*nth + 1) % names.len();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// The primary and its epoch.
async fn office(masters: &Arc<Masters>, names: &[String]) -> (String, u64) {
    let reply = insist(masters, names, &mut 0, "observer", MasterOp::Subscribe { who: "observer".into() }).await;
    let reply = reply.expect("a primary");
    let primary = reply.get("primary").and_then(|name| name.as_str().map(str::to_owned)).expect("a name");
    (primary, reply.get("epoch").and_then(|epoch| epoch.as_u64()).expect("an epoch"))
}

/// Waits until every shadow lives and has caught up.
async fn whole(masters: &Arc<Masters>, names: &[String]) {
    loop {
        let (primary, _) = office(masters, names).await;
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        if let Ok(status) = masters.call(&primary, "observer", Command::ShadowStatus, deadline).await
            && let Some(shadows) = status.get("shadows").and_then(|shadows| shadows.as_array().cloned())
            && shadows.iter().all(|shadow| shadow["wal_lag_entries"].as_u64().is_some_and(|lag| lag < 64))
            && masters.is_whole()
            && shadows.iter().all(|shadow| shadow["wal_lag_ms"].as_u64().is_some_and(|ms| ms < 100))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn fail_over(masters: &Arc<Masters>, at: &str, failed: &str) -> Option<Duration> {
    let command = Command::TriggerFailover { failed: failed.to_owned(), to: None };
    let reply = masters.call(at, "operator", command, tokio::time::Instant::now() + TIMEOUT).await.ok()?;
    reply.get("failover_time_ms").and_then(|ms| ms.as_u64()).map(Duration::from_millis)
}

async fn fault(masters: &Masters, target: &str, action: FaultAction) {
    masters.fault(Fault { action, target: target.to_owned() }).await.expect("the fault acts");
}
