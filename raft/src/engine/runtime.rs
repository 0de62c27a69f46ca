//! The runtime under openraft: tokio's tasks and timers, a clock that counts suspended time, a first-in-first-out watch.
//!
//! Promises: in a simulated environment (see [`crate::env::Env::simulation`]) everything that openraft draws at random
//! follows from the seed, and time is tokio's, which a test may pause; in a seeded one (see [`crate::env::Env::seed`])
//! only the former. Otherwise `Instant` is `CLOCK_BOOTTIME`, so a leader's lease runs out while its machine sleeps.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::sync::LazyLock;
use std::time::Duration;

use openraft::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::TokioRuntime;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::watch::FifoWatch;
use crate::env::{Env, Gate, RealEnv};

tokio::task_local! {
    /// The state of the generator of a replica whose randomness is seeded; not set for any other.
    static SEED: Cell<u64>;
    /// Set for a simulated replica: what its tasks go through.
    static SIMULATED: Gate;
}

/// Runs `future`, and all that it spawns through [`Runtime`], under the seed of `env`, if it has one.
pub(crate) async fn scoped<F: Future>(env: &dyn Env, future: F) -> F::Output {
    let (simulation, seed) = (env.simulation(), env.seed());
    match (simulation, seed) {
        (Some(seed), _) => {
            let gate = env.gate().unwrap_or_default();
            SEED.scope(Cell::new(seed), SIMULATED.scope(gate, future)).await
        }
        (None, Some(seed)) => SEED.scope(Cell::new(seed), future).await,
        (None, None) => future.await,
    }
}

fn is_simulated() -> bool {
    SIMULATED.try_with(|_| ()).is_ok()
}

/// How long ago `moment` was on the clock of a replica that is simulated or not; callable from any task.
pub(crate) fn ago(simulated: bool, moment: Instant) -> Duration {
    if simulated {
        SIMULATED.sync_scope(Gate::new(), || openraft::Instant::elapsed(&moment))
    } else {
        openraft::Instant::elapsed(&moment)
    }
}

/// The next number of the seeded generator (splitmix64), or `None` where nothing is seeded.
fn draw() -> Option<u64> {
    SEED.try_with(|seed| {
        let state = seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        seed.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
    .ok()
}

/// A moment on the runtime's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

/// Where a simulation's moments are counted from.
static ORIGIN: LazyLock<tokio::time::Instant> = LazyLock::new(tokio::time::Instant::now);

/// Keeps simulated moments away from zero: openraft subtracts from them.
const SIMULATED_EPOCH: Duration = Duration::from_secs(1 << 20);

impl openraft::Instant for Instant {
    fn now() -> Self {
        if is_simulated() {
            // Paused clocks of different tests are unrelated to the first one that was asked: keep the order right
            // within one of them whichever came first.
            let now = tokio::time::Instant::now();
            let since = now.checked_duration_since(*ORIGIN);
            let before = ORIGIN.checked_duration_since(now);
            return Instant(SIMULATED_EPOCH + since.unwrap_or_default() - before.unwrap_or_default());
        }
        Instant(RealEnv::boot_time().0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Instant(self.0.saturating_add(duration))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Instant(self.0.saturating_sub(duration))
    }
}

impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl SubAssign<Duration> for Instant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

/// How long from now until `deadline`.
fn left(deadline: Instant) -> Duration {
    deadline - <Instant as openraft::Instant>::now()
}

/// openraft's runtime.
#[derive(Debug)]
pub(crate) struct Runtime(TokioRuntime);

impl AsyncRuntime for Runtime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, F: Future<Output = R> + OptionalSend> = <TokioRuntime as AsyncRuntime>::Timeout<R, F>;
    type ThreadLocalRng = SmallRng;

    fn spawn<F>(future: F) -> Self::JoinHandle<F::Output>
    where
        F: Future + OptionalSend + 'static,
        F::Output: OptionalSend + 'static,
    {
        match (draw(), SIMULATED.try_with(Gate::clone).ok()) {
            (Some(seed), Some(gate)) => {
                let kept = gate.clone().keep(future);
                TokioRuntime::spawn(SEED.scope(Cell::new(seed), SIMULATED.scope(gate, kept)))
            }
            (Some(seed), None) => TokioRuntime::spawn(SEED.scope(Cell::new(seed), future)),
            (None, _) => TokioRuntime::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        TokioRuntime::sleep(left(deadline))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(left(deadline), future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(error)
    }

    fn thread_rng() -> SmallRng {
        SmallRng::seed_from_u64(draw().unwrap_or_else(rand::random))
    }

    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = FifoWatch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn new(threads: usize) -> Self {
        Runtime(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }

    fn spawn_blocking<F, T>(f: F) -> impl Future<Output = Result<T, io::Error>> + Send
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        TokioRuntime::spawn_blocking(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{SeededEnv, VirtualEnv};

    #[test]
    fn the_runtime_passes_openrafts_own_suite() {
        openraft_rt::testing::Suite::<Runtime>::test_all();
    }

    #[tokio::test]
    async fn the_same_seed_draws_the_same_numbers_in_every_spawned_task() {
        async fn trace(env: &dyn Env) -> (Vec<Option<u64>>, bool) {
            scoped(env, async {
                let spawned = Runtime::spawn(async { (vec![draw(), draw()], is_simulated()) });
                let mut numbers = vec![draw()];
                let (more, simulated) = spawned.await.unwrap();
                numbers.extend(more);
                (numbers, simulated && is_simulated())
            })
            .await
        }
        let (seven, simulated) = trace(&VirtualEnv::new(7)).await;
        assert!(simulated, "its time is the test's");
        assert_eq!(trace(&VirtualEnv::new(7)).await.0, seven);
        assert_ne!(trace(&VirtualEnv::new(8)).await.0, seven);
        let (seeded, simulated) = trace(&SeededEnv::new(7)).await;
        assert!(!simulated, "its time is real");
        assert_eq!(trace(&SeededEnv::new(7)).await.0, seeded);
        assert_eq!(trace(&RealEnv).await, (vec![None; 3], false), "nothing is seeded");
    }
}
