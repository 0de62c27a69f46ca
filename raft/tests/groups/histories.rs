//! Concurrent clients while everything goes wrong: what they saw could have happened one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::{Consistency, GroupOptions, NodeId, WriteError, WriteOptions};

use crate::common::{CALL, Cluster, Command, Oracle, Query, Seen, World, claims};
use crate::faults::Nemesis;

claims!(
    what_concurrent_clients_see_could_have_happened_one_after_the_other,
    what_was_acknowledged_happened_once_what_was_rejected_never,
    what_was_acknowledged_happened_once_also_by_machines_that_persist_themselves,
);

const MS: Duration = Duration::from_millis(1);
const KEYS: u64 = 4;

async fn what_concurrent_clients_see_could_have_happened_one_after_the_other(world: World) {
    judge_histories(world.cluster(3).await, MS * 8, Duration::from_secs(6)).await;
}

/// Has clients write and read, each pausing up to `pause` before every call, while everything goes wrong for so long.
pub(crate) async fn judge_histories(cluster: Cluster, pause: Duration, length: Duration) {
    let cluster = Arc::new(cluster);
    let world = cluster.world.clone();
    let nemesis = Nemesis::start(&cluster);
    let done = Arc::<AtomicBool>::default();
    let oracles: Vec<_> = (0..KEYS).map(|_| Oracle::default()).collect();
    let mut tasks = Vec::new();
    for (key, oracle) in (0..).zip(&oracles) {
        let client =
            || Client { cluster: Arc::clone(&cluster), key, oracle: oracle.clone(), done: Arc::clone(&done), pause };
        tasks.push(tokio::spawn(client().write()));
        for _ in 0..2 {
            tasks.push(tokio::spawn(client().read()));
        }
    }
    world.sleep(length).await;
    nemesis.end(&cluster).await;
    world.sleep(300 * MS).await;
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let (values, _) = cluster.converge().await;
    for (key, oracle) in (0..).zip(&oracles) {
        oracle.check();
        let (writes, reads) = oracle.counts();
        assert!(writes > 10 && reads > 10, "only {writes} writes and {reads} reads");
        let held = values.get(&key).copied().unwrap_or(0);
        assert!(held >= oracle.newest(), "{held} is left of {}", oracle.newest());
    }
}

/// One client of one key.
struct Client {
    cluster: Arc<Cluster>,
    key: u64,
    oracle: Oracle,
    done: Arc<AtomicBool>,
    pause: Duration,
}

impl Client {
    async fn write(self) {
        let Client { cluster, key, oracle, done, pause } = self;
        let world = cluster.world.fork();
        for value in 1.. {
            if done.load(Ordering::Relaxed) {
                return;
            }
            world.sleep(MS * world.below(pause.as_millis() as u64) as u32).await;
            let Some(group) = cluster.group_if_running(NodeId(1 + world.below(3))) else { continue };
            oracle.invoke(world.now(), value);
            let options = WriteOptions { session: None, timeout: 500 * MS };
            if group.write(&Command::Raise { key, to: value }, options).await.is_ok() {
                oracle.acknowledge(world.now(), value);
            }
        }
    }

    async fn read(self) {
        let Client { cluster, key, oracle, done, pause } = self;
        let world = cluster.world.fork();
        while !done.load(Ordering::Relaxed) {
            world.sleep(MS * world.below(pause.as_millis() as u64) as u32).await;
            let Some(group) = cluster.group_if_running(NodeId(1 + world.below(3))) else { continue };
            let all = [Consistency::Linearizable, Consistency::LinearizableHere, Consistency::Lease];
            let began = world.now();
            let Ok(reply) = group.read(world.pick(&all), &Query::Value(key), 500 * MS).await else { continue };
            let ended = world.now();
            let crate::common::Answer::Value(value) = reply.answer else { panic!("the answer to another query") };
            assert!(reply.proof.linearizable);
            oracle.see(Seen { began, made: began, ended, value, staleness: Duration::ZERO, linearizable: true });
        }
    }
}

async fn what_was_acknowledged_happened_once_what_was_rejected_never(world: World) {
    judge_fates(world.cluster(3).await).await;
}

async fn what_was_acknowledged_happened_once_also_by_machines_that_persist_themselves(world: World) {
    // Each life starts from what an earlier one persisted, and from a log that begins about there.
    let options = GroupOptions { snapshot_log_bytes: 1_000, snapshot_keep_entries: 4, ..World::options() };
    let cluster = world.durable_cluster(3, options).await;
    judge_fates(cluster).await;
}

async fn judge_fates(cluster: Cluster) {
    let cluster = Arc::new(cluster);
    let nemesis = Nemesis::start(&cluster);
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move {
                let world = cluster.world.fork();
                let mut fates = Vec::new();
                for number in 0..150 {
                    world.sleep(MS * world.below(40) as u32).await;
                    let value = client * 1000 + number;
                    let Some(group) = cluster.group_if_running(NodeId(1 + world.below(3))) else { continue };
                    let options = WriteOptions { session: None, timeout: 300 * MS };
                    fates.push((value, group.write(&Command::Push { value }, options).await.map(|done| done.reply)));
                }
                fates
            })
        })
        .collect();
    let mut fates = Vec::new();
    for client in clients {
        fates.extend(client.await.unwrap());
    }
    nemesis.end(&cluster).await;
    // A write of unknown outcome may still come, but not once the group has converged on something later.
    let (_, list) = cluster.converge().await;
    for (value, fate) in fates {
        let times = list.iter().filter(|held| **held == value).count();
        match &fate {
            Ok(place) => assert_eq!(list.get(*place as usize - 1), Some(&value), "{value} moved"),
            Err(WriteError::Rejected(_)) => assert_eq!(times, 0, "{value}: {fate:?}"),
            Err(_) => {}
        }
        // A client of the library never proposes a command without a session twice.
        assert!(times <= 1, "{value} happened {times} times: {fate:?}");
    }
    assert!(cluster.write(NodeId(1), Command::Push { value: 1 }, CALL).await.is_ok());
}
