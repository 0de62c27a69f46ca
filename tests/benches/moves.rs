//! The write gap of a shard's move, for shards of different sizes: `cargo bench -p quorate-tests --bench moves`.
//!
//! Eight clients write to one shard as fast as they are answered while it moves to and fro between two groups of three
//! replicas. The gap of a move is the longest time without any acknowledged write from before the move is ordered until
//! it is settled; beside it stands the longest gap in an equal time without a move, in the same run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate::{Consistency, GroupOptions};
use quorate_harness::gaps::{Acknowledged, quantile};
use quorate_nodes::embedded::World;
use quorate_nodes::kv::{Reach, ShardedStore, StoreOptions};
use quorate_statemachines::configlog::{Command, Reply};
use quorate_statemachines::kv::{Json, KvAnswer, KvOp, KvQuery};
use quorate_statemachines::slot::shard_of;
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TIMEOUT: Duration = Duration::from_secs(60);
const SHARDS: u32 = 2;
const SHARD: ShardId = ShardId(0);
const WRITERS: usize = 8;
const VALUE_BYTES: usize = 1024;

/// Megabytes of the shard, and how often it moves.
const SIZES: [(usize, usize); 3] = [(1, 40), (10, 20), (100, 10)];

fn main() {
    // `cargo test` runs bench targets too, to see that they build: there is nothing to assert here.
    if std::env::args().any(|arg| arg == "--test") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!(
        "{:>6} {:>6} {:>12} {:>12} {:>12} {:>12} {:>12}",
        "MB", "moves", "gap p50", "gap p99", "gap max", "quiet max", "move p50"
    );
    for (megabytes, moves) in SIZES {
        runtime.block_on(measure(megabytes, moves));
    }
}

async fn measure(megabytes: usize, moves: usize) {
    let store =
        ShardedStore::start(World::new(GroupOptions::default(), 1), StoreOptions::default()).await.expect("a store");
    let gids = ["g1", "g2"].map(Gid::new);
    store.ensure_groups(gids.clone()).await.expect("groups");
    let groups: BTreeMap<_, _> = gids.iter().map(|gid| (gid.clone(), Vec::new())).collect();
    change(&store, Command::Join { groups, shard_count: SHARDS }).await;
    change(&store, Command::Move { shard: SHARD, gid: gids[0].clone() }).await;
    settle(&store).await;
    fill(&store, megabytes).await;

    let writing = Writing::start(&store);
    let mut gaps = Vec::new();
    let mut times = Vec::new();
    let mut quiet = Duration::ZERO;
    for turn in 0..moves {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        change(&store, Command::Move { shard: SHARD, gid: gids[(turn + 1) % 2].clone() }).await;
        settle(&store).await;
        let took = begun.elapsed();
        gaps.push(writing.acknowledged.longest_gap(begun, begun + took));
        times.push(took);
        let begun = Instant::now();
        tokio::time::sleep(took.min(Duration::from_secs(1))).await;
        quiet = quiet.max(writing.acknowledged.longest_gap(begun, Instant::now()));
    }
    writing.stop().await;
    store.shutdown().await;
    gaps.sort();
    times.sort();
    println!(
        "{megabytes:>6} {moves:>6} {:>12.1?} {:>12.1?} {:>12.1?} {quiet:>12.1?} {:>12.1?}",
        quantile(&gaps, 0.5),
        quantile(&gaps, 0.99),
        quantile(&gaps, 1.0),
        quantile(&times, 0.5)
    );
}

/// Clients that write to the shard, and when each write was acknowledged.
struct Writing {
    stop: Arc<AtomicBool>,
    acknowledged: Acknowledged,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Writing {
    fn start(store: &Arc<ShardedStore>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Acknowledged::default();
        let clients = (0..WRITERS)
            .map(|writer| {
                let (client, stop, acknowledged) =
                    (Arc::clone(store.client()), Arc::clone(&stop), acknowledged.clone());
                tokio::spawn(async move {
                    let key = keys(&format!("writer{writer}-")).next().expect("a key");
                    let mut count = 0u64;
                    while !stop.load(Ordering::Relaxed) {
                        count += 1;
                        let value = Json::from(&serde_json::Value::from(count));
                        client.execute(KvOp::Put { key: key.clone(), value }, None, TIMEOUT).await.expect("a write");
                        acknowledged.note();
                    }
                })
            })
            .collect();
        Writing { stop, acknowledged, clients }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("a client");
        }
    }
}

/// Keys of the shard.
fn keys(prefix: &str) -> impl Iterator<Item = Arc<str>> + use<> {
    let prefix = prefix.to_string();
    (0u64..).map(move |n| Arc::from(format!("{prefix}{n}"))).filter(|key: &Arc<str>| shard_of(key, SHARDS) == SHARD)
}

async fn fill(store: &Arc<ShardedStore>, megabytes: usize) {
    let value = Json::from(&serde_json::Value::from("x".repeat(VALUE_BYTES)));
    let all: Arc<Vec<_>> = Arc::new(keys("fill").take(megabytes * 1024 * 1024 / VALUE_BYTES).collect());
    let next = Arc::new(AtomicU64::new(0));
    let fillers: Vec<_> = (0..64)
        .map(|_| {
            let (client, all, next, value) =
                (Arc::clone(store.client()), Arc::clone(&all), Arc::clone(&next), value.clone());
            tokio::spawn(async move {
                while let Some(key) = all.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    client
                        .execute(KvOp::Put { key: key.clone(), value: value.clone() }, None, TIMEOUT)
                        .await
                        .expect("a write");
                }
            })
        })
        .collect();
    for filler in fillers {
        filler.await.expect("a filler");
    }
}

async fn change(store: &ShardedStore, command: Command) -> ConfigNumber {
    match store.client().change(&command, TIMEOUT).await.expect("a change") {
        Reply::Done { number } => number,
        other => panic!("{other:?}"),
    }
}

/// Waits until both groups are at the newest configuration, with no move under way.
async fn settle(store: &ShardedStore) {
    let newest = store.client().configuration(quorate_statemachines::configlog::Query::Latest, TIMEOUT).await;
    let newest = newest.expect("an answer").expect("a configuration").number;
    for gid in store.gids() {
        let group = store.group(&gid).expect("a group");
        loop {
            if let Ok(reply) = group.read(Consistency::Linearizable, &KvQuery::Work, TIMEOUT, 0).await
                && let KvAnswer::Work(work) = reply.answer
                && work.settled
                && work.number == newest
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
