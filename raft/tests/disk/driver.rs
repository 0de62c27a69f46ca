//! Something that uses a log, remembers what it did, and what it was told to be durable.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate::GroupId;
use quorate::env::{Env, VirtualEnv};
use quorate::fs::Fs;
use quorate::log::disk::OpenError;
use quorate::log::{DiskLog, DiskLogOptions, Flushed, LogStore};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::model::{Held, Model, Step, entry, id, vote};

pub(crate) const DIR: &str = "/data/log";

/// Segments so small that everything happens often.
pub(crate) fn small() -> DiskLogOptions {
    DiskLogOptions {
        segment_bytes: 2048,
        queue_bytes: 512,
        cache_bytes: 600,
        reserve_bytes: 256,
        garbage_factor: 2,
        garbage_segments: 1,
        rewrite_bytes: 300,
    }
}

/// Runs a claim on one thread, in virtual time.
pub(crate) fn run<F: Future<Output = ()>>(claim: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async { claim().await });
}

/// The seed of a random claim; says how to try it again.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("QUORATE_SEED") {
        Ok(text) => text.parse().expect("QUORATE_SEED is a number"),
        Err(_) => rand::random_range(0..1_000_000),
    };
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("seed {seed}; again: QUORATE_SEED={seed} cargo test -p quorate --test disk -- --exact {name}");
    seed
}

pub(crate) fn open(fs: impl Fs, options: DiskLogOptions) -> Result<Arc<DiskLog>, OpenError> {
    DiskLog::open(Arc::new(fs), Arc::new(VirtualEnv::new(7)), Path::new(DIR), options)
}

/// Lets the committer do all it can.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// One life of a log, and what came of it.
pub(crate) struct Driver {
    pub(crate) log: Arc<DiskLog>,
    /// What the log held when this life began.
    before: Model,
    pub(crate) steps: Vec<Step>,
    /// How many of the steps are known to be durable.
    pub(crate) durable: Arc<AtomicUsize>,
    /// After all steps.
    pub(crate) now: Model,
}

impl Driver {
    pub(crate) async fn begin(log: Arc<DiskLog>) -> Driver {
        let before = Model::read(&log).await.unwrap();
        Driver { now: before.clone(), log, before, steps: Vec::new(), durable: Arc::default() }
    }

    fn take(&mut self, step: Step) {
        self.now.apply(&step);
        self.steps.push(step);
    }

    pub(crate) fn group(&self, group: GroupId) -> Arc<dyn LogStore> {
        self.log.group(group)
    }

    /// Appends entries of so many bytes each, from `start` on.
    pub(crate) async fn append(&mut self, group: GroupId, term: u64, start: u64, sizes: &[usize]) -> io::Result<()> {
        let entries: Vec<_> = (start..).zip(sizes).map(|(index, bytes)| entry(term, index, *bytes)).collect();
        let (durable, count) = (Arc::clone(&self.durable), self.steps.len() + entries.len());
        let flushed = Flushed::new(move |result| {
            if result.is_ok() {
                durable.fetch_max(count, Ordering::Relaxed);
            }
        });
        self.group(group).append(entries.clone(), flushed).await?;
        entries.into_iter().for_each(|entry| self.take(Step::Push(group, entry)));
        Ok(())
    }

    pub(crate) async fn truncate(&mut self, group: GroupId, last: Option<quorate::LogId>) -> io::Result<()> {
        self.group(group).truncate_after(last).await?;
        self.take(Step::Truncate(group, last));
        Ok(())
    }

    pub(crate) async fn purge(&mut self, group: GroupId, through: quorate::LogId) -> io::Result<()> {
        self.group(group).purge(through).await?;
        self.take(Step::Purge(group, through));
        Ok(())
    }

    pub(crate) async fn vote(&mut self, group: GroupId, term: u64) -> io::Result<()> {
        let saved = self.group(group).save_vote(vote(term)).await;
        self.waited_for(Step::Vote(group, vote(term)), saved)
    }

    pub(crate) async fn forget(&mut self, group: GroupId) -> io::Result<()> {
        let forgotten = self.log.forget(group).await;
        self.waited_for(Step::Forget(group), forgotten)
    }

    /// An error leaves open whether the step was taken, unless the disk was full.
    fn waited_for(&mut self, step: Step, result: io::Result<()>) -> io::Result<()> {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            return result;
        }
        self.take(step);
        if result.is_ok() {
            self.durable.fetch_max(self.steps.len(), Ordering::Relaxed);
        }
        result
    }

    /// Does something at random with one of `groups` groups.
    pub(crate) async fn anything(&mut self, random: &mut SmallRng, groups: u64) -> io::Result<()> {
        let group = GroupId(random.random_range(0..groups));
        let held = self.now.group(group);
        let Held { entries, purged, .. } = &held;
        let term = entries.last().map(|entry| entry.id).or(*purged).map_or(1, |id| id.term.0);
        match random.random_range(0..100) {
            0..50 => {
                let sizes: Vec<usize> = (0..random.random_range(1..5)).map(|_| random.random_range(0..150)).collect();
                self.append(group, term, held.end(), &sizes).await
            }
            50..57 => {
                let start = random.random_range(held.first()..=held.end());
                self.append(group, term + 1, start, &[20, 300][..random.random_range(1..3)]).await
            }
            57..63 => {
                let last = (held.end() > 0).then(|| id(term, random.random_range(0..held.end())));
                self.truncate(group, last).await
            }
            63..79 => {
                let beyond = random.random_range(0..2);
                let at = random.random_range(held.first()..=held.end() + beyond);
                self.purge(group, id(term, at)).await
            }
            79..85 => self.vote(group, random.random_range(0..99)).await,
            85..87 => self.forget(group).await,
            87..92 => self.group(group).save_committed(purged.or(Some(id(1, 1)))).await,
            92..96 => {
                settle().await;
                Ok(())
            }
            _ => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    /// What the next life may find: one of the models after a number of steps, at least those that are durable.
    pub(crate) fn check(&self, found: &Model, what: &str) {
        let durable = self.durable.load(Ordering::Relaxed);
        let mut model = self.before.clone();
        self.steps[..durable].iter().for_each(|step| model.apply(step));
        let mut rest = self.steps[durable..].iter();
        while model != *found {
            let Some(step) = rest.next() else {
                let mut expected = self.before.clone();
                self.steps[..durable].iter().for_each(|step| expected.apply(step));
                panic!(
                    "{what}: of {} steps {durable} were durable:\n{expected:#?}\nfound:\n{found:#?}",
                    self.steps.len()
                );
            };
            model.apply(step);
        }
    }
}

/// A number of random steps, until one fails.
pub(crate) async fn random_steps(driver: &mut Driver, random: &mut SmallRng, steps: u64, groups: u64) {
    for _ in 0..steps {
        if driver.anything(random, groups).await.is_err() {
            return;
        }
    }
}

/// The same steps each time.
pub(crate) async fn fixed_steps(driver: &mut Driver, steps: u64) {
    let mut random = SmallRng::seed_from_u64(3);
    random_steps(driver, &mut random, steps, 3).await;
}

pub(crate) fn env() -> Arc<dyn Env> {
    Arc::new(VirtualEnv::new(7))
}
