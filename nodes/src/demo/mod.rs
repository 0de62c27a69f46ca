//! The tour: a sharded store in this process is loaded with a book while its leaders die and its shards move; then files are
//! created under two masters, the primary of which dies. What was promised is checked afterwards.

mod book;
mod load;
mod masters;
mod report;
mod story;
mod watchman;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use quorate::GroupOptions;

use crate::embedded::World;
use crate::kv::{ShardedStore, StoreOptions};

use book::Book;
use load::Load;
use report::Report;
use story::Story;
use watchman::Watchman;

/// How the tour is made.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct DemoOptions {
    /// How many clients load the book at the same time.
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub clients: u16,
    /// How many of the book's chapters are loaded.
    #[arg(long, default_value_t = 28, value_parser = clap::value_parser!(u16).range(1..=28))]
    pub chapters: u16,
    /// Seeds what is random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Groups have so many replicas.
const REPLICAS: usize = 3;

/// Followers answer reads that may be so old.
const BOUND: Duration = Duration::from_millis(200);

/// Runs the tour and prints what was proven.
///
/// # Errors
/// When a check fails, or the store cannot be started.
pub async fn run(options: &DemoOptions) -> anyhow::Result<()> {
    let started = Instant::now();
    let book = Arc::new(Book::open(usize::from(options.chapters)));
    println!("Quorate: a controller and three groups of {REPLICAS} replicas, all real Raft groups, in this process.");
    println!(
        "Load: {}, {} chapters, {} words, by {} clients.\n",
        book.title(),
        book.chapters(),
        book.words(),
        options.clients
    );

    let world = World::new(GroupOptions::default(), options.seed);
    let store = ShardedStore::start(world, StoreOptions { replicas: REPLICAS, ..StoreOptions::default() })
        .await
        .context("the store could not be started")?;
    let mut story = Story::begin(Arc::clone(&store)).await?;

    let watchman = Watchman::start(Arc::clone(&store), BOUND);
    let load = Load::start(Arc::clone(&store), Arc::clone(&book), usize::from(options.clients));
    story.tell_while(&load).await?;
    let load = load.finish().await;
    let watch = watchman.finish().await;
    story.settle().await?;

    let mut report = Report::new(story.events());
    load.judge(&mut report);
    report.check_book(&store, &book).await;
    story.judge(&mut report);
    watch.judge(&mut report, BOUND);
    store.shutdown().await;

    println!("\nTwo masters, a primary and its shadow, and no third to vote. Clients create files.\n");
    masters::play(options.seed, &mut report).await?;
    report.print(started.elapsed());
    anyhow::ensure!(report.passed(), "a check failed");
    Ok(())
}
