//! The operating system's clocks and randomness, and tokio's tasks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
