//! The load: each word's position is appended to that word's list, and each chapter's count goes up by `cas`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use quorate::Consistency;
use quorate_statemachines::kv::{Json, KvOp, Outcome};
use tokio::task::JoinSet;

use super::book::{Book, chapter_key, word_key};
use super::report::Report;
use crate::kv::{KvClient, KvError, ShardedStore};

const TIMEOUT: Duration = Duration::from_secs(20);

/// One word in so many is counted by `cas`, which needs a read and may need several tries.
const COUNT_EVERY: usize = 64;

/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// The load while it runs.
pub(super) struct Load {
    clients: JoinSet<Loaded>,
    done: Arc<AtomicUsize>,
    total: usize,
}

/// What came of it.
pub(super) struct Loaded {
    acknowledged: u64,
    swaps_lost: u64,
    failures: Vec<KvError>,
    /// How long each acknowledged write took, in microseconds.
    latency: Histogram<u64>,
    elapsed: Duration,
}

impl Loaded {
    fn new() -> Self {
        Loaded { acknowledged: 0, swaps_lost: 0, failures: Vec::new(), latency: histogram(), elapsed: Duration::ZERO }
    }

    fn add(&mut self, other: Loaded) {
        self.acknowledged += other.acknowledged;
        self.swaps_lost += other.swaps_lost;
        self.failures.extend(other.failures);
        self.elapsed = self.elapsed.max(other.elapsed);
        // Both have the same bounds.
        let _ = self.latency.add(&other.latency);
    }

    pub(super) fn judge(&self, report: &mut Report) {
        let rate = self.acknowledged as f64 / self.elapsed.as_secs_f64().max(0.001);
        report.fact("writes acknowledged", format!("{} ({rate:.0}/s)", self.acknowledged));
        let quantile = |q| Duration::from_micros(self.latency.value_at_quantile(q));
        report.fact("write latency p50 / p99", format!("{:.1?} / {:.1?}", quantile(0.5), quantile(0.99)));
        report.fact("longest wait of any write", format!("{:.0?}", Duration::from_micros(self.latency.max())));
        report.fact("cas lost to another client, retried", self.swaps_lost.to_string());
        let failures = self.failures.first().map(|error| format!("{} failed, first: {error}", self.failures.len()));
        report.check("every write was acknowledged", failures.map_or(Ok("none failed".into()), Err));
    }
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, LATENCY_MAX_US, 3) {
        Ok(histogram) => histogram,
        Err(error) => panic!("the histogram's bounds are constants: {error}"),
    }
}

impl Load {
    pub(super) fn start(store: Arc<ShardedStore>, book: Arc<Book>, clients: usize) -> Self {
        let done = Arc::new(AtomicUsize::new(0));
        let next = Arc::new(AtomicU64::new(0));
        let total = book.words();
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (client, book) = (Arc::clone(store.client()), Arc::clone(&book));
            let (next, done) = (Arc::clone(&next), Arc::clone(&done));
            tasks.spawn(async move { load(&client, &book, &next, &done).await });
        }
        Load { clients: tasks, done, total }
    }

    /// How many words are loaded, of how many.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.done.load(Ordering::Relaxed), self.total)
    }

    pub(super) async fn finish(mut self) -> Loaded {
        let mut all = Loaded::new();
        while let Some(part) = self.clients.join_next().await {
            match part {
                Ok(part) => all.add(part),
                Err(error) => all.failures.push(KvError::Unknown(format!("a client's task failed: {error}"))),
            }
        }
        all
    }
}

async fn load(client: &KvClient, book: &Book, next: &AtomicU64, done: &AtomicUsize) -> Loaded {
    let mut loaded = Loaded::new();
    let started = Instant::now();
    loop {
        let position = next.fetch_add(1, Ordering::Relaxed) as usize;
        let Some((chapter, word)) = book.word(position) else { break };
        // A missing key gets the value as it is, so positions are kept as one text: "17 204 ".
        let value = Json::from(&serde_json::Value::from(format!("{position} ")));
        write(client, KvOp::Append { key: word_key(word), value }, &mut loaded).await;
        if position.is_multiple_of(COUNT_EVERY) {
            count(client, *chapter, &mut loaded).await;
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
    loaded.elapsed = started.elapsed();
    loaded
}

async fn write(client: &KvClient, op: KvOp, loaded: &mut Loaded) -> Option<Outcome> {
    let begun = Instant::now();
    match client.execute(op, None, TIMEOUT).await {
        Ok(outcome) => {
            loaded.acknowledged += 1;
            loaded.latency.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
            Some(outcome)
        }
        Err(error) => {
            loaded.failures.push(error);
            None
        }
    }
}

/// Adds one to a chapter's count, however often another client is quicker.
async fn count(client: &KvClient, chapter: u32, loaded: &mut Loaded) {
    let key = chapter_key(chapter);
    loop {
        let from = match client.get(&key, Consistency::Linearizable, TIMEOUT).await {
            Ok(reply) => reply.answer,
            Err(error) => {
                loaded.failures.push(error);
                return;
            }
        };
        let count = from.as_ref().and_then(|json| json.text().parse::<u64>().ok()).unwrap_or(0);
        let op = KvOp::Cas {
            key: Arc::clone(&key),
            // Another client may create it between the read and the cas: then nothing matches this.
            from: from.unwrap_or_else(|| Json::from(&serde_json::Value::Null)),
            to: Json::from(&serde_json::Value::from(count + 1)),
            create_if_not_exists: true,
        };
        match write(client, op, loaded).await {
            Some(Outcome::Different) => loaded.swaps_lost += 1,
            _ => return,
        }
    }
}

/// How often each chapter's count went up.
pub(super) fn counted(book: &Book) -> std::collections::BTreeMap<u32, u64> {
    let mut counts = std::collections::BTreeMap::new();
    for position in (0..book.words()).step_by(COUNT_EVERY) {
        if let Some((chapter, _)) = book.word(position) {
            *counts.entry(*chapter).or_insert(0) += 1;
        }
    }
    counts
}
