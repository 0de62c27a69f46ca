//! Figures, not claims: `cargo test -p quorate-statemachines --release --test durable -- --ignored --nocapture speed`.

use std::time::Instant;

use bytes::Bytes;
use quorate::GroupOptions;
use quorate::machine::{Backlog, Durable, EntryContext, StateMachine};
use quorate::types::{Index, LogTime, Term};
use quorate_statemachines::kv::{KvDatabase, KvDatabaseOptions, KvMachine};

use crate::common::{GROUP, TTL, config, how_many, put};
use crate::groups::{Cluster, options};

fn entry(index: u64) -> EntryContext {
    EntryContext { index: Index(index), place: 0, term: Term(1), time: LogTime(index) }
}

/// The memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

#[test]
#[ignore = "prints figures"]
fn speed_of_one_machine_with_data_larger_than_its_overlay() {
    let dir = tempfile::tempdir().unwrap();
    let database = KvDatabase::open(dir.path(), KvDatabaseOptions::default()).unwrap();
    let mut machine = KvMachine::open(&database, GROUP, TTL).unwrap();
    machine.apply(entry(0), config(1, &[0]));
    let text = "x".repeat(256);
    let (begun, before) = (Instant::now(), resident_mib());
    let keys = how_many("QUORATE_KEYS", 1_000_000);
    let (mut flushes, mut flushing) = (0, std::time::Duration::ZERO);
    for key in 0..keys {
        // Scattered, so that later ones fall between earlier ones.
        let name = format!("key {:016x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        machine.apply(entry(key + 1), put(0, &name, &text));
        if machine.backlog() > Backlog::Little {
            let start = Instant::now();
            machine.freeze().run(Bytes::new()).unwrap();
            machine.settle();
            (flushes, flushing) = (flushes + 1, flushing + start.elapsed());
        }
    }
    let took = begun.elapsed();
    println!(
        "{keys} puts of 256 B: {:.0}/s, {flushes} flushes of {:?} on average; {} MiB resident (before: {before}), {} MiB on disk",
        keys as f64 / took.as_secs_f64(),
        flushing / flushes.max(1),
        resident_mib(),
        database.disk_bytes().unwrap() >> 20
    );
    let begun = Instant::now();
    let shard = machine.shard(quorate_statemachines::ShardId(0)).unwrap();
    let found = shard.range(std::ops::Bound::Unbounded).map(Result::unwrap).count();
    println!("{found} keys read in order in {:?}, {} MiB resident", begun.elapsed(), resident_mib());
}

#[test]
#[ignore = "prints figures"]
fn speed_of_persisting_after_so_many_changes() {
    for changes in [0u64, 100, 1_000, 10_000, 50_000] {
        let dir = tempfile::tempdir().unwrap();
        let database = KvDatabase::open(dir.path(), KvDatabaseOptions::default()).unwrap();
        let mut machine = KvMachine::open(&database, GROUP, TTL).unwrap();
        machine.apply(entry(0), config(1, &[0]));
        let text = "x".repeat(256);
        for key in 0..100_000 {
            machine.apply(entry(key + 1), put(0, &format!("key {key}"), &text));
        }
        machine.freeze().run(Bytes::new()).unwrap();
        machine.settle();
        for key in 0..changes {
            machine.apply(entry(200_000 + key), put(0, &format!("key {}", key * 7 % 100_000), &text));
        }
        let begun = Instant::now();
        let flush = machine.freeze();
        let frozen = begun.elapsed();
        flush.run(Bytes::new()).unwrap();
        let run = begun.elapsed();
        machine.settle();
        println!(
            "{changes} changes of 256 B in 100000 keys: set aside in {frozen:?}, written in {run:?}, settled in {:?}",
            begun.elapsed() - run
        );
    }
}

#[test]
#[ignore = "prints figures"]
fn speed_of_a_group_on_disks_and_in_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let puts = how_many("QUORATE_PUTS", 50_000);
    for round in 0..6 {
        let (place, disks) = match round % 2 {
            0 => ("in memory", None),
            _ => ("on disks", Some(KvDatabaseOptions::default())),
        };
        let rate = runtime.block_on(async {
            let cluster = Cluster::new(GroupOptions { snapshot_log_bytes: 8 << 20, ..options() }, disks).await;
            cluster.fill(0, 0..2_000, 256).await;
            let begun = Instant::now();
            cluster.fill(0, 0..puts, 256).await;
            puts as f64 / begun.elapsed().as_secs_f64()
        });
        println!("three replicas {place}: {rate:.0} puts/s, 100 at a time");
    }
}
