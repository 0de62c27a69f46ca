//! Clients that repeat one operation for a while, and what it cost.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Operations by time, and processor time of the whole process by operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
}

/// Something that a client repeats.
pub(crate) trait Operation: Clone + Send + Sync + 'static {
    fn run(&self) -> impl Future<Output = ()> + Send;
}

/// Has `clients` tasks repeat `operation` for `time`, after a short time that does not count.
pub(crate) async fn during(time: Duration, clients: usize, operation: impl Operation) -> Rate {
    let done = Arc::<AtomicU64>::default();
    let stop = Arc::<AtomicBool>::default();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (operation, done, stop) = (operation.clone(), Arc::clone(&done), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    operation.run().await;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time / 5).await;
    let (began, cpu, before) = (Instant::now(), cpu_time(), done.load(Ordering::Relaxed));
    tokio::time::sleep(time).await;
    let (took, cpu, after) = (began.elapsed(), cpu_time() - cpu, done.load(Ordering::Relaxed));
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let count = (after - before).max(1) as f64;
    Rate { per_second: count / took.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / count }
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Each figure's median.
pub(crate) fn median(rates: &[Rate]) -> Rate {
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Rate {
        per_second: middle(rates.iter().map(|rate| rate.per_second).collect()),
        cpu_us: middle(rates.iter().map(|rate| rate.cpu_us).collect()),
    }
}

pub(crate) fn median_duration(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}
