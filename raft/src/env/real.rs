//! The operating system's clocks and randomness, and tokio's tasks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

use super::{BoxFuture, Env, Moment};
use crate::types::LogTime;

/// The environment of a real process. Tasks run on the tokio runtime of the caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealEnv;

impl RealEnv {
    /// `CLOCK_BOOTTIME` as a moment.
    pub fn boot_time() -> Moment {
        let time = clock_gettime(ClockId::Boottime);
        Moment(Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32))
    }
}

impl Env for RealEnv {
    fn now(&self) -> Moment {
        Self::boot_time()
    }

    fn wall(&self) -> LogTime {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        LogTime(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    fn random(&self) -> u64 {
        rand::random()
    }

    fn spawn(&self, task: BoxFuture<()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The environment of a real process whose random choices follow from a seed. What they come to still depends on time
/// and on the order in which tasks run.
#[derive(Debug)]
pub struct SeededEnv(Mutex<SmallRng>);

impl SeededEnv {
    /// Random choices that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        SeededEnv(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl Env for SeededEnv {
    fn now(&self) -> Moment {
        RealEnv.now()
    }

    fn wall(&self) -> LogTime {
        RealEnv.wall()
    }

    fn random(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    fn seed(&self) -> Option<u64> {
        Some(self.random())
    }

    fn spawn(&self, task: BoxFuture<()>) {
        RealEnv.spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<()> {
        RealEnv.sleep(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_choices_follow_from_the_seed() {
        let draw = |seed| {
            let env = SeededEnv::new(seed);
            [Some(env.random()), env.seed(), Some(env.random())]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
