//! Clients that have one operation at a time each, and what was seen of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use quorate::env::{Env, RealEnv};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Operation;
use super::cost::Processes;
use super::target::Target;

/// How many clients put the keys that are read later.
const PREPARING: usize = 64;

/// What all runs have in common.
pub(super) struct Load {
    pub(super) keys: usize,
    pub(super) value: String,
    /// How long a round is measured.
    pub(super) seconds: f64,
}

/// What was seen of one system.
pub(super) struct Measured {
    /// Operations in a second, in each round.
    pub(super) rates: Vec<f64>,
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    /// What the operations cost the servers.
    pub(super) used: Option<Duration>,
    pub(super) failed: u64,
    /// Why one of them failed.
    pub(super) failure: Option<String>,
}

impl Measured {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Measured { rates: Vec::new(), latency: histogram(), used: Some(Duration::ZERO), failed: 0, failure: None }
    }

    /// Adds what was seen of the same system with the same load.
    pub(super) fn add(&mut self, more: Measured) {
        self.rates.extend(more.rates);
        if let Err(error) = self.latency.add(more.latency) {
            self.failure = Some(error.to_string());
        }
        self.used = self.used.zip(more.used).map(|(used, more)| used + more);
        self.failed += more.failed;
        self.failure = self.failure.take().or(more.failure);
    }

    /// Operations in a second, over all rounds, which were equally long.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn rate(&self) -> f64 {
        self.rates.iter().sum::<f64>() / self.rates.len() as f64
    }

    /// What an operation cost the servers; `None` if there was none, or nobody knows.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn cpu(&self) -> Option<Duration> {
        let count = self.latency.len();
        self.used.filter(|_| count > 0).map(|used| used.div_f64(count as f64))
    }

    /// How much faster this was than `other`: the median of the rounds that were one after the other.
    pub(super) fn ratio(&self, other: &Measured) -> f64 {
        let mut ratios: Vec<f64> = self.rates.iter().zip(&other.rates).map(|(rate, first)| rate / first).collect();
        ratios.sort_by(f64::total_cmp);
        let middle = ratios.len() / 2;
        match ratios.len() {
            0 => f64::NAN,
            count if count % 2 == 1 => ratios[middle],
            _ => f64::midpoint(ratios[middle - 1], ratios[middle]),
        }
    }
}

/// What one client has seen.
struct Seen {
    latency: Histogram<u64>,
    failed: u64,
    failure: Option<String>,
}

fn key(nth: usize) -> String {
    format!("key{nth:08}")
}

/// Three digits, as far up as it takes.
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap_or_else(|error| unreachable!("three digits are allowed: {error}"));
    histogram.auto(true);
    histogram
}

impl Load {
    /// Puts every key once.
    pub(super) async fn prepare(&self, target: &Target) -> anyhow::Result<()> {
        let mut putting = JoinSet::new();
        for nth in 0..PREPARING.min(self.keys) {
            let (target, value, keys) = (target.of(nth), self.value.clone(), self.keys);
            putting.spawn(async move {
                for key_nth in (nth..keys).step_by(PREPARING) {
                    target.put(key(key_nth), value.clone()).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = putting.join_next().await {
            done.context("a client died")??;
        }
        Ok(())
    }

    /// Runs `clients` for a round, after a tenth of that. Each round they begin with another server.
    pub(super) async fn run(
        &self,
        (target, processes): (&Target, &Processes),
        operation: Operation,
        clients: usize,
        round: usize,
    ) -> Measured {
        let begin = Instant::now() + Duration::from_secs_f64(self.seconds / 10.0);
        let end = begin + Duration::from_secs_f64(self.seconds);
        let value: Arc<str> = self.value.as_str().into();
        let mut running = JoinSet::new();
        for nth in 0..clients {
            let (target, value, keys) = (target.of(nth + round), Arc::clone(&value), self.keys as u64);
            running.spawn(async move {
                let mut seen = Seen { latency: histogram(), failed: 0, failure: None };
                let env = RealEnv;
                loop {
                    let key = key(usize::try_from(env.random() % keys).unwrap_or_default());
                    let begun = Instant::now();
                    if begun >= end {
                        return seen;
                    }
                    let result = match operation {
                        Operation::Put => target.put(key, value.to_string()).await,
                        Operation::Get => target.get(key, false).await,
                        Operation::Bounded => target.get(key, true).await,
                    };
                    let now = Instant::now();
                    match result {
                        Ok(()) if begun >= begin && now < end => {
                            let micros = u64::try_from((now - begun).as_micros()).unwrap_or(u64::MAX);
                            if let Err(error) = seen.latency.record(micros) {
                                seen.failure = Some(error.to_string());
                            }
                        }
                        Ok(()) => {}
                        Err(error) => {
                            seen.failed += 1;
                            seen.failure = Some(format!("{error:#}"));
                        }
                    }
                }
            });
        }
        tokio::time::sleep_until(begin).await;
        let before = processes.used();
        tokio::time::sleep_until(end).await;
        let used = processes.used().zip(before).map(|(after, before)| after.saturating_sub(before));
        let mut all = Seen { latency: histogram(), failed: 0, failure: None };
        while let Some(done) = running.join_next().await {
            let Ok(seen) = done else {
                all.failed += 1;
                continue;
            };
            if let Err(error) = all.latency.add(seen.latency) {
                all.failure = Some(error.to_string());
            }
            all.failed += seen.failed;
            all.failure = all.failure.or(seen.failure);
        }
        #[allow(clippy::cast_precision_loss)]
        let rate = all.latency.len() as f64 / self.seconds;
        Measured { rates: vec![rate], latency: all.latency, used, failed: all.failed, failure: all.failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_that_of_the_middle_round_and_a_rate_that_of_all() {
        let of = |rates: &[f64]| Measured { rates: rates.to_vec(), ..Measured::new() };
        let (mut ours, theirs) = (of(&[10.0]), of(&[10.0, 10.0, 1.0]));
        ours.add(of(&[20.0]));
        ours.add(of(&[90.0]));
        assert!((ours.rate() - 40.0).abs() < 1e-9);
        assert!((ours.ratio(&theirs) - 2.0).abs() < 1e-9);
        assert_eq!(ours.cpu(), None);
    }

    #[test]
    fn latencies_of_any_length_are_kept_and_added_up() {
        let (mut all, mut one) = (histogram(), histogram());
        for micros in [1, 900, 5_000, 70_000_000] {
            one.record(micros).expect("any length");
        }
        all.add(one).expect("any length");
        assert_eq!((all.len(), all.value_at_quantile(0.5)), (4, 900));
        assert!((69_900_000..70_100_000).contains(&all.max()));
    }
}
