//! The environment's port: clocks, randomness, tasks. Nothing else in the library asks the operating system for these,
//! but for the engine's runtime, which keeps the same clock for openraft.
//!
//! Promises: `now` never goes back and counts the time that the machine was suspended, so that an age computed from it
//! is never too small; `wall` may jump.
//! Leaves out: files, which are [`crate::fs`].

mod deadlines;
mod gate;
mod real;
mod virtual_time;

use std::future::Future;
use std::ops::{Add, Sub};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::types::LogTime;

pub(crate) use deadlines::{Deadlines, Until};
pub use gate::{Gate, Through};
pub use real::{RealEnv, SeededEnv};
pub use virtual_time::VirtualEnv;

/// A future that can be handed around.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A moment on the monotonic, suspend-counting clock of one node. Moments of different nodes do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub Duration);

impl Moment {
    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_sub(duration))
    }
}

/// What one node asks of the world: the port. Adapters: [`RealEnv`], [`SeededEnv`], [`VirtualEnv`].
pub trait Env: Send + Sync + 'static {
    /// The monotonic clock. Counts suspended time (`CLOCK_BOOTTIME`): through a pause, an age grows.
    fn now(&self) -> Moment;

    /// The wall clock, in milliseconds since 1970. May be wrong and may jump; only log time is made of it.
    fn wall(&self) -> LogTime;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// Runs a task to its end, or until the process stops.
    fn spawn(&self, task: BoxFuture<()>);

    /// In a simulation, the seed from which the consensus core's own randomness follows; time is then tokio's.
    fn simulation(&self) -> Option<u64> {
        None
    }

    /// In a simulation, what all tasks of this node go through, those of the consensus core too. [`Env::spawn`] and whoever
    /// hands this node a message see to it for themselves.
    fn gate(&self) -> Option<Gate> {
        None
    }

    /// Outside of a simulation, the seed from which the consensus core's own randomness follows; time stays real.
    fn seed(&self) -> Option<u64> {
        None
    }

    /// Completes after at least `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<()>;
}

/// Runs `future` until `deadline`; `None` when that comes first.
pub async fn until<T>(env: &Arc<dyn Env>, deadline: Moment, future: impl Future<Output = T>) -> Option<T> {
    let left = deadline.since(env.now());
    let future = std::pin::pin!(future);
    match futures::future::select(future, env.sleep(left)).await {
        futures::future::Either::Left((value, _)) => Some(value),
        futures::future::Either::Right(_) => None,
    }
}
