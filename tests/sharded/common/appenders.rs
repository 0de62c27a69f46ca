//! Clients that append to a key each, and know what must have come of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::{Client, Seed, eventually, text};

/// What each key must hold.
pub(crate) type Expected = BTreeMap<Arc<str>, String>;

/// Appenders at work: one for each key.
pub(crate) struct Appenders {
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicU64>>,
    tasks: Vec<JoinHandle<(Arc<str>, String)>>,
}

impl Appenders {
    /// Starts an appender for each key, which holds what is expected of it now. Each appends a random text of 5, pauses,
    /// and goes on.
    pub(crate) fn start(expected: Expected, client: impl Fn() -> Client, seed: &Seed, pause: Duration) -> Appenders {
        let stop = Arc::<AtomicBool>::default();
        let mut appenders = Appenders { stop: Arc::clone(&stop), done: Vec::new(), tasks: Vec::new() };
        for (nth, (key, mut value)) in (0..).zip(expected) {
            let (client, stop, done) = (client(), Arc::clone(&stop), Arc::<AtomicU64>::default());
            let mut rng = seed.rng(1000 + nth);
            appenders.done.push(Arc::clone(&done));
            appenders.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let more = text(&mut rng, 5);
                    client.append(&key, &more).await;
                    value.push_str(&more);
                    done.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(pause).await;
                }
                (key, value)
            }));
        }
        appenders
    }

    /// Waits until every appender has got on by so many appends.
    pub(crate) async fn progress(&self, appends: u64) {
        let count = |done: &Arc<AtomicU64>| done.load(Ordering::Relaxed);
        let goals: Vec<u64> = self.done.iter().map(|done| count(done) + appends).collect();
        let reached = || self.done.iter().zip(&goals).all(|(done, goal)| count(done) >= *goal);
        let failed = || self.tasks.iter().any(JoinHandle::is_finished);
        eventually("all appenders get on", || std::future::ready(failed() || reached())).await;
        assert!(!failed(), "an appender has failed");
    }

    /// Ends the appenders; what each key must hold now.
    pub(crate) async fn stop(self) -> Expected {
        self.stop.store(true, Ordering::Relaxed);
        let mut expected = Expected::new();
        for task in self.tasks {
            expected.extend([task.await.expect("an appender has failed")]);
        }
        expected
    }
}
