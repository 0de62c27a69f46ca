//! A runtime, an environment and a seed.

use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate::env::{Env, Moment, RealEnv, VirtualEnv};
use quorate::{GroupOptions, LogTime};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::Cluster;

/// Longer than anything that is bound to happen, on the slowest machine.
const EVENTUALLY: Duration = Duration::from_secs(60);

/// Where a claim is tried.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) env: Arc<dyn Env>,
    pub(crate) seed: u64,
    pub(crate) is_virtual: bool,
    wall: Arc<Wall>,
    random: Arc<Mutex<SmallRng>>,
}

/// The environment with a wall clock that can be set wrong.
struct Wall {
    inner: Arc<dyn Env>,
    ahead_ms: AtomicI64,
}

impl Env for Wall {
    fn now(&self) -> Moment {
        self.inner.now()
    }

    fn wall(&self) -> LogTime {
        LogTime(self.inner.wall().0.saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed)))
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn simulation(&self) -> Option<u64> {
        self.inner.simulation()
    }

    fn spawn(&self, task: quorate::env::BoxFuture<()>) {
        self.inner.spawn(task);
    }

    fn sleep(&self, duration: Duration) -> quorate::env::BoxFuture<()> {
        self.inner.sleep(duration)
    }
}

/// Tries a claim on two threads and the machine's clocks.
pub(crate) fn in_real_time<F: Future<Output = ()>>(claim: impl FnOnce(World) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { claim(World::new(Arc::new(RealEnv), seed(), false)).await });
    // A task that will not end must not keep the test from ending.
    runtime.shutdown_background();
}

/// Tries a claim on one thread, in a time that jumps whenever nothing is left to do.
pub(crate) fn in_virtual_time<F: Future<Output = ()>>(claim: impl FnOnce(World) -> F) {
    with_seed(seed(), claim);
}

/// The same, with this seed.
pub(crate) fn with_seed<F: Future>(seed: u64, claim: impl FnOnce(World) -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { claim(World::new(Arc::new(VirtualEnv::new(seed)), seed, true)).await })
}

fn seed() -> u64 {
    let seed = match std::env::var("QUORATE_SEED") {
        Ok(text) => text.parse().expect("QUORATE_SEED is a number"),
        Err(_) => rand::random_range(0..1_000_000),
    };
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("seed {seed}; again: QUORATE_SEED={seed} cargo test -p quorate --test groups -- --exact {name}");
    seed
}

impl World {
    fn new(inner: Arc<dyn Env>, seed: u64, is_virtual: bool) -> Self {
        let wall = Arc::new(Wall { inner, ahead_ms: Default::default() });
        let random = Arc::new(Mutex::new(SmallRng::seed_from_u64(seed)));
        World { env: Arc::clone(&wall) as Arc<dyn Env>, seed, is_virtual, wall, random }
    }

    /// `nodes` voters, running, initialised, with a leader.
    pub(crate) async fn cluster(&self, nodes: u64) -> Cluster {
        self.cluster_with(nodes, Self::options()).await
    }

    pub(crate) async fn cluster_with(&self, nodes: u64, options: GroupOptions) -> Cluster {
        let cluster = Cluster::new(self, options);
        for node in 1..=nodes {
            cluster.start(quorate::NodeId(node)).await;
        }
        cluster.initialize().await;
        cluster
    }

    /// The same, of machines that persist themselves.
    pub(crate) async fn durable_cluster(&self, nodes: u64, options: GroupOptions) -> Cluster {
        let cluster = Cluster::new(self, options);
        cluster.durable.store(true, Ordering::Relaxed);
        for node in 1..=nodes {
            cluster.start(quorate::NodeId(node)).await;
        }
        cluster.initialize().await;
        cluster
    }

    /// Timeouts that a busy machine can keep.
    pub(crate) fn options() -> GroupOptions {
        GroupOptions {
            heartbeat: Duration::from_millis(50),
            election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
            lease_margin: Duration::from_millis(30),
            ..GroupOptions::default()
        }
    }

    pub(crate) fn now(&self) -> Moment {
        self.env.now()
    }

    /// Moves every wall clock, forwards or back.
    pub(crate) fn shift_wall(&self, by_ms: i64) {
        self.wall.ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// By how much a call may end late: the machine's fault, not the library's.
    pub(crate) fn slack(&self) -> Duration {
        if self.is_virtual { Duration::from_millis(20) } else { Duration::from_secs(3) }
    }

    pub(crate) async fn sleep(&self, duration: Duration) {
        self.env.sleep(duration).await;
    }

    /// Waits until `condition` holds.
    pub(crate) async fn eventually(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = self.now() + EVENTUALLY;
        while !condition() {
            assert!(self.now() < deadline, "it never came true that {what}");
            self.sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap().random_range(0..end)
    }

    pub(crate) fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// A generator of its own, so that tasks do not disturb each other's numbers.
    pub(crate) fn fork(&self) -> World {
        let random = SmallRng::seed_from_u64(self.random.lock().unwrap().next_u64());
        World { random: Arc::new(Mutex::new(random)), ..self.clone() }
    }
}
