//! What a simulated node sees of the world: tokio's paused clock, from an origin of its own in each life; a wall clock that
//! may be wrong; seeded numbers; tasks behind a gate.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate::LogTime;
use quorate::env::{BoxFuture, Env, Gate, Moment};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

/// The wall clock's time at the beginning of every run: some day in November 2023.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// The environment of one life of a node.
#[derive(Debug)]
pub struct NodeEnv {
    started: tokio::time::Instant,
    /// What its monotonic clock said when it started: clocks of different nodes and lives have nothing to do with each other.
    origin: Duration,
    world: tokio::time::Instant,
    wall_ahead_ms: Arc<AtomicI64>,
    random: Mutex<SmallRng>,
    gate: Gate,
}

impl NodeEnv {
    /// The environment of a node that starts now. The wall clock's error is the machine's, and survives the life.
    pub(super) fn new(seed: u64, world: tokio::time::Instant, wall_ahead_ms: Arc<AtomicI64>) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let origin = Duration::from_millis(random.random_range(0..1_000_000_000));
        let started = tokio::time::Instant::now();
        NodeEnv { started, origin, world, wall_ahead_ms, random: Mutex::new(random), gate: Gate::new() }
    }

    /// What holds and ends this life's tasks.
    pub fn tasks(&self) -> &Gate {
        &self.gate
    }
}

impl Env for NodeEnv {
    fn now(&self) -> Moment {
        Moment(self.origin + self.started.elapsed())
    }

    fn wall(&self) -> LogTime {
        let elapsed = i64::try_from(self.world.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wall = elapsed.saturating_add(EPOCH_MS).saturating_add(self.wall_ahead_ms.load(Ordering::Relaxed));
        LogTime(wall.max(0).unsigned_abs())
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(self.gate.through(task));
    }

    fn simulation(&self) -> Option<u64> {
        Some(self.random())
    }

    fn gate(&self) -> Option<Gate> {
        Some(self.gate.clone())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
