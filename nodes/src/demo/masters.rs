//! The second act: two masters and no witness. Clients create files while the primary hands over, is killed, and comes
//! back as the shadow.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use quorate::ClientId;
use quorate::sessions::Stamp;
use quorate_statemachines::master::{FilePath, MasterOp, MasterQuery, Office};
use tokio::task::JoinHandle;

use super::report::Report;
use crate::services::master::{Command, Masters};
use crate::services::{MasterOptions, ServiceOptions};
use crate::stdio::{ErrorReply, Fault, FaultAction, Reply};

/// The masters. The first of them is the first primary.
const NAMES: [&str; 2] = ["m1", "m2"];

const CLIENTS: usize = 8;

/// So many files are created between two scenes.
const FILES: u64 = 400;

/// How long one attempt may take, and all attempts at one request.
const ATTEMPT: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is to hear of every new primary.
const OBSERVER: &str = "observer";

/// A notification that arrived: from whom, and of which epoch.
type Told = (String, u64);

/// Two masters with clients at work.
struct Act {
    masters: Arc<Masters>,
    /// Which of them the clients ask first.
    asked: AtomicUsize,
    told: Arc<Mutex<Vec<Told>>>,
    stop: AtomicBool,
    created: AtomicU64,
    /// The longest that a client waited for one file, in microseconds.
    longest: AtomicU64,
}

/// Plays the act, and adds what it showed to the report.
pub(super) async fn play(seed: u64, report: &mut Report) -> anyhow::Result<()> {
    let started = Instant::now();
    let act = Act::begin(seed).await?;
    let mut tell = |text: String| report.event(format!("{:5.1}s  {text}", started.elapsed().as_secs_f64()));
    let subscribe = change(MasterOp::Subscribe { who: OBSERVER.into() }, None);
    act.insist(OBSERVER, &subscribe).await.map_err(refused)?;
    let clients: Vec<_> = (0..CLIENTS).map(|nth| tokio::spawn(Arc::clone(&act).work(format!("c{nth}")))).collect();

    act.goes_on().await?;
    tell(format!("m1 hands over: {}", act.fail_over("m1", "m2").await?));
    act.goes_on().await?;
    act.fault("m2", FaultAction::Stop).await?;
    tell(format!("killed m2, the primary. m1, by its own log, may go on alone: {}", act.fail_over("m2", "m1").await?));
    act.goes_on().await?;
    act.fault("m2", FaultAction::Start).await?;
    act.whole().await?;
    tell("m2 is back; m1 took it in again, as its shadow".into());
    act.goes_on().await?;

    act.judge(clients, report).await?;
    act.masters.shutdown().await;
    Ok(())
}

impl Act {
    async fn begin(seed: u64) -> anyhow::Result<Arc<Act>> {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let heard = Arc::clone(&told);
        let tell = move |from: &str, _: &str, office: &Office| {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push((from.to_owned(), office.epoch.0));
        };
        let service = ServiceOptions { seed: Some(seed), ..ServiceOptions::default() };
        let options = MasterOptions { service, ..MasterOptions::default() };
        let names = NAMES.map(str::to_owned).into();
        let masters =
            Masters::start(names, options, Box::new(tell)).await.context("the masters could not be started")?;
        Ok(Arc::new(Act {
            masters,
            asked: AtomicUsize::new(0),
            told,
            stop: AtomicBool::new(false),
            created: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }))
    }

    /// One client: creates one file after the other, and says which were acknowledged.
    async fn work(self: Arc<Self>, who: String) -> anyhow::Result<BTreeSet<String>> {
        let mut acknowledged = BTreeSet::new();
        for seq in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let path = format!("/{who}/{seq}");
            let stamp = Stamp { client: ClientId::new(who.as_str()), seq, acked: Some(seq - 1) };
            let file = FilePath::new(path.as_str()).map_err(|error| anyhow!("{error}"))?;
            let begun = Instant::now();
            // Under the same number an attempt that was carried out unheard is answered, not repeated.
            self.insist(&who, &change(MasterOp::Create { path: file }, Some(stamp))).await.map_err(refused)?;
            let waited = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.longest.fetch_max(waited, Ordering::Relaxed);
            self.created.fetch_add(1, Ordering::Relaxed);
            acknowledged.insert(path);
        }
        Ok(acknowledged)
    }

    async fn ask(&self, nth: usize, who: &str, command: Command) -> Result<Reply, ErrorReply> {
        self.masters.call(NAMES[nth], who, command, tokio::time::Instant::now() + ATTEMPT).await
    }

    /// Asks the primary, whoever that is, until it answers.
    async fn insist(&self, who: &str, command: &Command) -> Result<Reply, ErrorReply> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let nth = self.asked.load(Ordering::Relaxed);
            match self.ask(nth, who, command.clone()).await {
                Err(error) if matches!(error.code.number(), 0 | 11 | 13) && Instant::now() < deadline => {
                    self.asked.store((nth + 1) % NAMES.len(), Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn goes_on(&self) -> anyhow::Result<()> {
        let until = self.created.load(Ordering::Relaxed) + FILES;
        eventually("clients to be answered", || self.created.load(Ordering::Relaxed) >= until).await
    }

    async fn whole(&self) -> anyhow::Result<()> {
        eventually("the shadow to have a vote again", || self.masters.is_whole()).await
    }

    async fn fault(&self, target: &str, action: FaultAction) -> anyhow::Result<()> {
        self.masters.fault(Fault { action, target: target.into() }).await.map_err(refused)
    }

    /// An operator's failover, asked of the master `at`, told in words.
    async fn fail_over(&self, failed: &str, at: &str) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let command = Command::TriggerFailover { failed: failed.into(), to: None };
        let reply = self.masters.call(at, "operator", command, deadline).await.map_err(refused)?;
        let number = |name: &str| reply.get(name).and_then(|value| value.as_u64()).unwrap_or_default();
        let (entries, ms) = (number("wal_entries_replayed"), number("failover_time_ms"));
        let primary = reply.get("new_primary").context("a failover without a new primary")?;
        let primary = primary.as_str().unwrap_or_default();
        Ok(format!("{primary} is the primary after {ms} ms, {entries} entries replayed"))
    }

    async fn judge(
        &self,
        clients: Vec<JoinHandle<anyhow::Result<BTreeSet<String>>>>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeSet::new();
        for client in clients {
            acknowledged.extend(client.await??);
        }
        let longest = Duration::from_micros(self.longest.load(Ordering::Relaxed));
        report.fact("files created under two masters", acknowledged.len().to_string());
        report.fact("longest wait for any file", format!("{longest:.0?}"));
        let listed = self.list().await?;
        let lost = acknowledged.difference(&listed).next();
        report.check(
            "every acknowledged file is there",
            match lost {
                Some(path) => Err(format!("{path} is lost")),
                None => Ok(format!("{} files, through a handing-over and a death", listed.len())),
            },
        );
        report.check("one primary an epoch, the observer told once", self.judge_told());
        Ok(())
    }

    fn judge_told(&self) -> Result<String, String> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let mut primaries = BTreeMap::new();
        for (from, epoch) in told.iter() {
            if let Some(other) = primaries.insert(epoch, from) {
                return Err(format!("of epoch {epoch} both {other} and {from} told"));
            }
        }
        match primaries.len() {
            0 | 1 => Err(format!("only {primaries:?} were heard of")),
            epochs => Ok(format!("{epochs} new epochs")),
        }
    }

    async fn list(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut paths = BTreeSet::new();
        loop {
            let from = paths.last().map(|path: &String| format!("{path}\0").into());
            let query = MasterQuery::List { prefix: "".into(), from, limit: 1000 };
            let page = self.insist(OBSERVER, &Command::Question { query, claimed: None }).await.map_err(refused)?;
            let names = page.get("paths").context("a listing without paths")?;
            let names = names.as_array().into_iter().flatten().filter_map(|path| path.as_str().map(str::to_owned));
            paths.extend(names);
            if page.get("more") != Some(true.into()) {
                return Ok(paths);
            }
        }
    }
}

fn change(op: MasterOp, session: Option<Stamp>) -> Command {
    Command::Change { op, claimed: None, session }
}

fn refused(error: ErrorReply) -> anyhow::Error {
    anyhow!("a master answered {error:?}")
}

async fn eventually(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        anyhow::ensure!(Instant::now() < deadline, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}
