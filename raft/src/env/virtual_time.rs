//! Virtual time: tokio's clock, which stands still and jumps when it is paused, and a seeded source of randomness.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{BoxFuture, Env, Moment};
use crate::types::LogTime;

/// An environment under a test's control: the same seed gives the same random numbers, time is tokio's, and the wall
/// clock can be set wrong.
#[derive(Debug)]
pub struct VirtualEnv {
    origin: tokio::time::Instant,
    wall_offset_ms: AtomicI64,
    random: Mutex<SmallRng>,
}

impl VirtualEnv {
    /// An environment whose randomness follows from `seed`. To be made inside a tokio runtime.
    pub fn new(seed: u64) -> Self {
        VirtualEnv {
            origin: tokio::time::Instant::now(),
            wall_offset_ms: AtomicI64::new(1_700_000_000_000),
            random: Mutex::new(SmallRng::seed_from_u64(seed)),
        }
    }

    /// Moves this node's wall clock by so many milliseconds, forwards or back.
    pub fn shift_wall(&self, by_ms: i64) {
        self.wall_offset_ms.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Env for VirtualEnv {
    fn now(&self) -> Moment {
        Moment(self.origin.elapsed())
    }

    fn wall(&self) -> LogTime {
        let elapsed = i64::try_from(self.origin.elapsed().as_millis()).unwrap_or(i64::MAX);
        let wall = elapsed.saturating_add(self.wall_offset_ms.load(Ordering::Relaxed));
        LogTime(wall.max(0).unsigned_abs())
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    fn simulation(&self) -> Option<u64> {
        Some(self.random())
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_gives_the_same_numbers_and_a_shifted_wall_clock_leaves_the_monotonic_one_alone() {
        let (a, b) = (VirtualEnv::new(7), VirtualEnv::new(7));
        assert_eq!((0..9).map(|_| a.random()).collect::<Vec<_>>(), (0..9).map(|_| b.random()).collect::<Vec<_>>());
        let (before, wall) = (a.now(), a.wall());
        a.sleep(Duration::from_millis(40)).await;
        a.shift_wall(-1000);
        assert!(a.now().since(before) >= Duration::from_millis(40));
        assert!(a.wall() < wall);
    }
}
