//! The log on disk by itself: `cargo bench -p quorate --bench log`.
//!
//! `appends`: 64 writers, each waiting for its append to be on disk, in 1, 1000 and 10,000 groups; beside them one thread
//! that does nothing but write as many bytes at once and sync, which is what the disk can do. `recovery`: how long a log of
//! a million entries takes to open. Name a section after `--` to run only that; files are in the system's temporary
//! directory (`TMPDIR`). Times are this machine's and this disk's.

#![allow(clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::env::RealEnv;
use quorate::fs::{File, Fs, OpenMode, RealFs};
use quorate::log::{Action, DiskLog, DiskLogOptions, Entry, Flushed, LogStore, Payload, Proposal, Write};
use quorate::types::{GroupId, Index, LogId, LogTime, Term};
use tokio::sync::{Mutex, oneshot};

const WRITERS: u64 = 64;

/// Bytes of the command in each entry.
const COMMAND: usize = 256;

/// How long and how much.
struct Effort {
    round: Duration,
    rounds: usize,
    entries: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Without `--bench` this is a test run: only show that everything works.
    let effort = if arguments.iter().any(|argument| argument == "--bench") {
        Effort { round: Duration::from_millis(1500), rounds: 5, entries: 1_000_000 }
    } else {
        Effort { round: Duration::from_millis(100), rounds: 1, entries: 10_000 }
    };
    let named: Vec<String> = arguments.into_iter().filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |section: &str| named.is_empty() || named.iter().any(|name| name == section);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if wanted("appends") {
        for groups in [1, 1_000, 10_000] {
            runtime.block_on(appends(groups, &effort));
        }
    }
    if wanted("recovery") {
        runtime.block_on(recovery(&effort));
    }
}

fn open(dir: &Path) -> Arc<DiskLog> {
    DiskLog::open(Arc::new(RealFs), Arc::new(RealEnv), dir, DiskLogOptions::default()).unwrap()
}

fn entry(index: u64, command: &Bytes) -> Entry {
    let write = Write { session: None, action: Action::Apply(command.clone()) };
    let proposal = Proposal { stamped: LogTime(index), writes: vec![write] };
    let id = LogId { term: Term(1), index: Index(index) };
    Entry { id, payload: Payload::Writes(Arc::new(proposal)) }
}

/// A group and its next index: appends of one group come one after the other.
struct Group {
    log: Arc<dyn LogStore>,
    next: Mutex<u64>,
}

impl Group {
    /// Appends an entry and waits until it is on disk.
    async fn append(&self, command: &Bytes) {
        let (sender, flushed) = oneshot::channel();
        let mut next = self.next.lock().await;
        let done = Flushed::new(move |result| sender.send(result).unwrap());
        self.log.append(vec![entry(*next, command)], done).await.unwrap();
        *next += 1;
        drop(next);
        flushed.await.unwrap().unwrap();
    }
}

async fn appends(groups: u64, effort: &Effort) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir.path().join("log"));
    let all: Arc<Vec<Group>> =
        Arc::new((0..groups).map(|id| Group { log: log.group(GroupId(id)), next: Mutex::new(0) }).collect());
    let mut raw = Raw::new(dir.path());
    let (mut times, mut ratios, mut rates, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    // By turns, so that what else the machine does falls on both.
    for _ in 0..effort.rounds {
        let before = log.usage();
        times.extend(write(&all, effort.round).await);
        let after = log.usage();
        let syncs = (after.syncs - before.syncs).max(1);
        bytes = (after.written_bytes - before.written_bytes) / syncs;
        let (own, alone) = (syncs as f64 / effort.round.as_secs_f64(), raw.rate(bytes as usize, effort.round));
        ratios.push(own / alone);
        rates.push((own, alone));
    }
    log.close().await;
    times.sort_unstable();
    ratios.sort_unstable_by(f64::total_cmp);
    rates.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (own, alone) = rates[rates.len() / 2];
    println!(
        "appends   {groups:>6} groups  {:>6.0}/s  p50 {:>7.2?}  p99 {:>7.2?}  {own:>5.0} syncs/s of {bytes} bytes, \
         the disk alone {alone:>5.0}/s, ratio {:.2} ({:.2} to {:.2})",
        times.len() as f64 / (effort.round.as_secs_f64() * effort.rounds as f64),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        ratios[ratios.len() / 2],
        ratios[0],
        ratios[ratios.len() - 1],
    );
}

/// Has all writers append for so long; gives how long each append took.
async fn write(groups: &Arc<Vec<Group>>, round: Duration) -> Vec<Duration> {
    let command = Bytes::from(vec![7; COMMAND]);
    let end = Instant::now() + round;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (groups, command) = (Arc::clone(groups), command.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut at = writer;
                while Instant::now() < end {
                    let begun = Instant::now();
                    groups[at as usize % groups.len()].append(&command).await;
                    times.push(begun.elapsed());
                    at += WRITERS;
                }
                times
            })
        })
        .collect();
    futures::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect()
}

/// The disk without a log: one file, written to from its beginning to its end and again.
struct Raw {
    file: Box<dyn File>,
    at: u64,
}

impl Raw {
    const BYTES: u64 = 64 << 20;

    fn new(dir: &Path) -> Self {
        let file = RealFs.open(&dir.join("raw"), OpenMode::CreateNew).unwrap();
        file.allocate(Self::BYTES).unwrap();
        file.sync_all().unwrap();
        Raw { file, at: 0 }
    }

    /// How often a second it can be given so many bytes and synced.
    fn rate(&mut self, bytes: usize, round: Duration) -> f64 {
        let (content, start) = (vec![7; bytes], Instant::now());
        let mut count = 0u32;
        while start.elapsed() < round {
            self.file.write_at(&content, self.at).unwrap();
            self.file.sync_data().unwrap();
            count += 1;
            self.at += bytes as u64;
            self.at = if self.at + bytes as u64 > Self::BYTES { 0 } else { self.at };
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }
}

async fn recovery(effort: &Effort) {
    const GROUPS: u64 = 100;
    const BATCH: u64 = 500;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let command = Bytes::from(vec![7; 100]);
    let groups: Vec<_> = (0..GROUPS).map(|id| log.group(GroupId(id))).collect();
    let per_group = effort.entries / GROUPS;
    for start in (0..per_group).step_by(BATCH as usize) {
        for group in &groups {
            let batch = (start..(start + BATCH).min(per_group)).map(|index| entry(index, &command)).collect();
            group.append(batch, Flushed::new(|result| result.unwrap())).await.unwrap();
        }
    }
    log.close().await;
    let usage = log.usage();
    drop((log, groups));
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = Instant::now();
        let log = open(dir.path());
        times.push(start.elapsed());
        assert_eq!(log.group(GroupId(0)).state().await.unwrap().last.map(|id| id.index.0), Some(per_group - 1));
        log.close().await;
    }
    println!("recovery  {} entries, {} MB  {times:.2?}", effort.entries, usage.bytes >> 20);
}
