//! The sharded store, whole: routing, moves under load, faults.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate::{Consistency, GroupOptions};
use quorate_nodes::embedded::{ReplicaFault, World};
use quorate_nodes::kv::{ShardedStore, StoreOptions};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::Command;
use quorate_statemachines::kv::{Json, KvOp};

const T: Duration = Duration::from_secs(20);

fn options() -> GroupOptions {
    GroupOptions {
        heartbeat: Duration::from_millis(50),
        election_timeout: (Duration::from_millis(200), Duration::from_millis(400)),
        ..Default::default()
    }
}

async fn join(store: &ShardedStore, gids: &[&str]) {
    let gids: Vec<_> = gids.iter().map(|gid| Gid::new(*gid)).collect();
    store.ensure_groups(gids.clone()).await.unwrap();
    let groups: BTreeMap<_, _> = gids.into_iter().map(|gid| (gid, Vec::new())).collect();
    let reply = store.client().change(&Command::Join { groups, shard_count: 10 }, T).await.unwrap();
    println!("join: {reply:?}");
}

async fn leave(store: &ShardedStore, gids: &[&str]) {
    let gids: BTreeSet<_> = gids.iter().map(|gid| Gid::new(*gid)).collect();
    let reply = store.client().change(&Command::Leave { gids }, T).await.unwrap();
    println!("leave: {reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_survive_joins_leaves_and_leader_crashes_each_exactly_once() {
    let store = ShardedStore::start(World::new(options(), 1), StoreOptions::default()).await.unwrap();
    join(&store, &["g1"]).await;
    let mut appenders = Vec::new();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    for n in 0..10 {
        let (client, stop) = (Arc::clone(store.client()), Arc::clone(&stop));
        appenders.push(tokio::spawn(async move {
            let key: Arc<str> = format!("key{n}").into();
            let mut count = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let value = Json::parse(&format!("\"{count},\"")).unwrap();
                client.execute(KvOp::Append { key: key.clone(), value }, None, T).await.unwrap();
                count += 1;
            }
            (key, count)
        }));
    }
    join(&store, &["g2", "g3"]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for gid in ["g1", "g2"].map(Gid::new) {
        let group = store.group(&gid).unwrap();
        let leader = group.leader().unwrap_or(0);
        store.fault(&gid, leader, ReplicaFault::Stop).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        store.fault(&gid, leader, ReplicaFault::Start).await.unwrap();
    }
    leave(&store, &["g1"]).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    leave(&store, &["g2"]).await;
    join(&store, &["g1"]).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for appender in appenders {
        let (key, count) = appender.await.unwrap();
        let value = store.client().get(&key, Consistency::Linearizable, T).await.unwrap().answer.unwrap();
        let expected: String = (0..count).map(|n| format!("{n},")).collect();
        println!("{key}: {count} appends");
        assert_eq!(value.text(), format!("\"{expected}\""));
    }
    store.shutdown().await;
}
