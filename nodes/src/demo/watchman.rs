//! The watchman: one client writes the ticks of a counter, others read it from followers with a bound, and every read is
//! held against what had been acknowledged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_statemachines::kv::{Json, KvOp};
use tokio::task::JoinHandle;

use super::report::Report;
use crate::kv::ShardedStore;

const TIMEOUT: Duration = Duration::from_secs(20);
const READERS: usize = 4;

/// The oracle: when each tick was acknowledged.
type Acknowledged = Arc<Mutex<BTreeMap<Instant, u64>>>;

/// The watchman at work.
pub(super) struct Watchman {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    readers: Vec<JoinHandle<Watch>>,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Watch {
    reads: u64,
    local: u64,
    failed: u64,
    oldest: Duration,
    violations: Vec<String>,
}

impl Watchman {
    pub(super) fn start(store: Arc<ShardedStore>, bound: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Acknowledged::default();
        let writer = tokio::spawn(tick(Arc::clone(&store), Arc::clone(&stop), Arc::clone(&acknowledged)));
        let readers = (0..READERS)
            .map(|_| tokio::spawn(read(Arc::clone(&store), Arc::clone(&stop), Arc::clone(&acknowledged), bound)))
            .collect();
        Watchman { stop, writer, readers }
    }

    pub(super) async fn finish(self) -> Watch {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Watch::default();
        if let Err(error) = self.writer.await {
            all.violations.push(format!("the writer's task failed: {error}"));
        }
        for reader in self.readers {
            match reader.await {
                Ok(watch) => all.add(watch),
                Err(error) => all.violations.push(format!("a reader's task failed: {error}")),
            }
        }
        all
    }
}

impl Watch {
    fn add(&mut self, other: Watch) {
        self.reads += other.reads;
        self.local += other.local;
        self.failed += other.failed;
        self.oldest = self.oldest.max(other.oldest);
        self.violations.extend(other.violations);
    }

    pub(super) fn judge(&self, report: &mut Report, bound: Duration) {
        let share = 100.0 * self.local as f64 / self.reads.max(1) as f64;
        report.fact("bounded reads", format!("{} ({share:.0} % answered by followers)", self.reads));
        report.fact("oldest answer", format!("at most {:.0?} old (bound {bound:.0?})", self.oldest));
        let verdict = match self.violations.first() {
            Some(first) => Err(format!("{} were older, first: {first}", self.violations.len())),
            None if self.reads == 0 => Err("there were none".into()),
            None if self.local == 0 => Err("no follower answered".into()),
            None => Ok(format!("{} reads held against acknowledged writes", self.reads)),
        };
        report.check("no read was older than it claimed", verdict);
    }
}

fn key() -> Arc<str> {
    "watch:tick".into()
}

async fn tick(store: Arc<ShardedStore>, stop: Arc<AtomicBool>, acknowledged: Acknowledged) {
    let mut count = 0u64;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let op = KvOp::Put { key: key(), value: Json::from(&serde_json::Value::from(count)) };
        if store.client().execute(op, None, TIMEOUT).await.is_ok() {
            acknowledged.lock().unwrap_or_else(PoisonError::into_inner).insert(Instant::now(), count);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn read(store: Arc<ShardedStore>, stop: Arc<AtomicBool>, acknowledged: Acknowledged, bound: Duration) -> Watch {
    let mut watch = Watch::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        match store.client().get_bounded(&key(), bound, TIMEOUT).await {
            Ok((value, proof)) => {
                let staleness = proof.staleness.unwrap_or(Duration::MAX);
                watch.reads += 1;
                watch.local += u64::from(!proof.linearizable);
                watch.oldest = watch.oldest.max(staleness);
                // A linearizable answer is as fresh as the read's begin, any other as the reply less the claim.
                let fresh_at = if proof.linearizable { Some(begun) } else { Instant::now().checked_sub(staleness) };
                let seen = value.and_then(|json| json.text().parse::<u64>().ok()).unwrap_or(0);
                let owed = fresh_at.and_then(|at| {
                    let acknowledged = acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
                    acknowledged.range(..at).next_back().map(|(_, count)| *count)
                });
                if seen < owed.unwrap_or(0) {
                    watch.violations.push(format!("saw tick {seen}, claimed {staleness:?}, owed tick {owed:?}"));
                }
            }
            Err(_) => watch.failed += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    watch
}
