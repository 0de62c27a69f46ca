//! Masters in this process, what they have told whom, and a client that finds the primary.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate::sessions::Stamp;
use quorate_nodes::services::master::{Command, Masters};
use quorate_nodes::services::{MasterOptions, ServiceOptions};
use quorate_nodes::stdio::{ErrorReply, Fault, FaultAction, Reply};
use quorate_statemachines::master::{FilePath, MasterOp, MasterQuery};
use serde_json::Value;

/// How long anything may take; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long one attempt of a client takes at most.
const ATTEMPT: Duration = Duration::from_millis(1500);

/// One notification: by whom, to whom, and the epoch.
pub(crate) type Told = (String, String, u64);

/// Masters and their audience.
pub(crate) struct Cluster {
    pub(crate) names: Vec<String>,
    pub(crate) masters: Arc<Masters>,
    told: Arc<Mutex<Vec<Told>>>,
    /// Epochs under which a primary has answered.
    served: Mutex<BTreeSet<u64>>,
}

impl Cluster {
    pub(crate) async fn start(count: usize, seed: u64, failure_timeout: Duration) -> Arc<Cluster> {
        let names: Vec<String> = (1..=count).map(|nth| format!("n{nth}")).collect();
        let options = MasterOptions {
            service: ServiceOptions { seed: Some(seed), ..ServiceOptions::default() },
            failure_timeout,
            ..MasterOptions::default()
        };
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let telling = Arc::clone(&told);
        let tell = move |from: &str, to: &str, office: &quorate_statemachines::master::Office| {
            assert_eq!(office.primary.as_deref(), Some(from), "a primary speaks for itself");
            let mut told = telling.lock().unwrap_or_else(PoisonError::into_inner);
            told.push((from.to_owned(), to.to_owned(), office.epoch.0));
        };
        let masters = Masters::start(names.clone(), options, Box::new(tell)).await.expect("masters");
        Arc::new(Cluster { names, masters, told, served: Mutex::default() })
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One request to one master.
    pub(crate) async fn ask(
        &self,
        master: &str,
        who: &str,
        command: Command,
        timeout: Duration,
    ) -> Result<Reply, ErrorReply> {
        let deadline = tokio::time::Instant::now() + timeout;
        let answer = self.masters.call(master, who, command, deadline);
        tokio::time::timeout_at(deadline + ATTEMPT, answer).await.expect("an answer by the deadline")
    }

    pub(crate) async fn fault(&self, target: &str, action: FaultAction) {
        self.masters.fault(Fault { action, target: target.to_owned() }).await.expect("the fault acts");
    }

    /// Asks whoever is the primary, until it answers. The request must be safe to repeat.
    pub(crate) async fn insist(&self, who: &str, command: Command) -> Result<Reply, ErrorReply> {
        let begun = Instant::now();
        let mut nth = 0;
        loop {
            let error = match self.ask(&self.names[nth], who, command.clone(), ATTEMPT).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            if !matches!(error.code.number(), 0 | 11 | 13) {
                return Err(error);
            }
            assert!(begun.elapsed() < PATIENCE, "{who}: still {error:?} for {command:?}");
            let hint = error.hints.iter().find(|(name, _)| name == "primary").and_then(|(_, primary)| primary.as_str());
            nth = match hint.and_then(|primary| self.names.iter().position(|name| name == primary)) {
                Some(hinted) if hinted != nth => hinted,
                _ => (nth + 1) % self.names.len(),
            };
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The primary's name, as the masters say.
    pub(crate) async fn primary(&self) -> String {
        self.office().await.0
    }

    /// The primary's name and epoch, from itself.
    pub(crate) async fn office(&self) -> (String, u64) {
        let subscribe = change(MasterOp::Subscribe { who: "observer".into() }, None);
        let reply = self.insist("observer", subscribe).await.expect("a primary");
        let primary = reply.get("primary").and_then(|name| name.as_str().map(str::to_owned)).expect("a name");
        let epoch = reply.get("epoch").and_then(|epoch| epoch.as_u64()).expect("an epoch");
        self.served.lock().unwrap_or_else(PoisonError::into_inner).insert(epoch);
        (primary, epoch)
    }

    /// All paths.
    pub(crate) async fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        loop {
            let from = paths.last().map(|path: &String| format!("{path}\0").into());
            let query = MasterQuery::List { prefix: "".into(), from, limit: 1000 };
            let reply = self.insist("observer", Command::Question { query, claimed: None }).await.expect("a listing");
            let page = reply.get("paths").expect("paths");
            let names = page.as_array().expect("a list").iter().map(|path| path.as_str().expect("a path").to_owned());
            paths.extend(names);
            if reply.get("more") == Some(Value::Bool(false)) {
                return paths;
            }
        }
    }

    pub(crate) async fn status(&self, master: &str) -> Result<Reply, ErrorReply> {
        self.ask(master, "observer", Command::ShadowStatus, PATIENCE).await
    }

    /// An operator's failover.
    pub(crate) async fn fail_over(&self, at: &str, failed: &str, to: Option<&str>) -> Result<Reply, ErrorReply> {
        let command = Command::TriggerFailover { failed: failed.to_owned(), to: to.map(str::to_owned) };
        self.ask(at, "operator", command, PATIENCE).await
    }

    /// Waits until all shadows live, have a vote, and lag behind by nothing.
    pub(crate) async fn whole(&self) {
        eventually("all shadows have caught up", || async {
            if !self.masters.is_whole() {
                return false;
            }
            let Ok(status) = self.status(&self.primary().await).await else { return false };
            let shadows = status.get("shadows").expect("shadows");
            shadows.as_array().expect("a list").iter().all(|shadow| {
                shadow["alive"] == true && shadow["wal_lag_entries"] == 0 && shadow["wal_lag_ms"].as_u64().is_some()
            })
        })
        .await;
    }

    /// Everybody who had subscribed before the first failover was told of every epoch under which anybody served, once, by
    /// one primary.
    pub(crate) fn check_told(&self, audience: &[&str]) {
        let told = self.told();
        let mut primaries = BTreeMap::new();
        for (from, _, epoch) in &told {
            let primary = primaries.entry(*epoch).or_insert(from);
            assert_eq!(*primary, from, "epoch {epoch} has two primaries");
        }
        for &epoch in primaries.keys() {
            for who in audience {
                let times = told.iter().filter(|(_, to, of)| to == who && *of == epoch).count();
                assert_eq!(times, 1, "{who} was told {times} times of epoch {epoch}");
            }
        }
        // A primary that was deposed before it served has told nobody.
        let served = self.served.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let untold: Vec<_> = served.iter().filter(|epoch| **epoch > 1 && !primaries.contains_key(epoch)).collect();
        assert!(untold.is_empty(), "nobody was told of {untold:?}");
    }
}

/// A change without an epoch.
pub(crate) fn change(op: MasterOp, session: Option<Stamp>) -> Command {
    Command::Change { op, claimed: None, session }
}

pub(crate) fn path(text: &str) -> FilePath {
    FilePath::new(text).expect("a path")
}

/// Waits until `condition` holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
