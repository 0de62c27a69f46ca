//! A wall clock that is wrong, for tests of what must not depend on it.

use std::time::Duration;

use quorate::env::{BoxFuture, Env, Moment, RealEnv};
use quorate::types::LogTime;

/// The environment of a real process whose wall clock is off by so many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct WrongClock(pub(super) i64);

impl Env for WrongClock {
    fn now(&self) -> Moment {
        RealEnv.now()
    }

    fn wall(&self) -> LogTime {
        LogTime(RealEnv.wall().0.saturating_add_signed(self.0))
    }

    fn random(&self) -> u64 {
        RealEnv.random()
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
    fn only_the_wall_clock_is_wrong() {
        let hour = 3_600_000;
        assert!(WrongClock(hour).wall() >= LogTime(RealEnv.wall().0 + hour as u64 - 1000));
        assert!(WrongClock(-hour).wall() < RealEnv.wall());
        assert_eq!(WrongClock(i64::MIN).wall(), LogTime(0));
        assert!(WrongClock(hour).now().since(RealEnv.now()) < Duration::from_secs(1000));
    }
}
