//! One group and a bad world: partitions, crashes, a network that loses messages, small logs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_nodes::embedded::ReplicaFault;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::common::{Cluster, RandomClients, Setup, key, pause};

/// What a run does to its group.
#[derive(Clone, Copy, Default)]
struct Trouble {
    replicas: usize,
    clients: u64,
    rounds: usize,
    unreliable: bool,
    crash: bool,
    partitions: bool,
    snapshots_at: Option<u64>,
}

async fn start(trouble: Trouble) -> Cluster {
    let mut setup = Setup::groups(1).replicas(trouble.replicas);
    if let Some(log_bytes) = trouble.snapshots_at {
        setup = setup.snapshots_at(log_bytes);
    }
    if trouble.unreliable {
        setup = setup.unreliable();
    }
    let cluster = setup.start().await;
    cluster.join([0]).await;
    cluster
}

/// Splits the group's nodes into two random sides.
fn split(cluster: &Cluster, rng: &mut SmallRng) {
    let group = cluster.group(0);
    let mut sides = [Vec::new(), Vec::new()];
    for node in (0..group.replicas()).filter_map(|replica| group.node(replica)) {
        sides[rng.random_range(0..2)].push(node);
    }
    cluster.network().heal_all();
    cluster.network().partition(&sides.map(|side| side.into_iter().collect()));
}

/// One round of trouble, while clients work.
async fn round(cluster: &Cluster, trouble: Trouble, rng: &mut SmallRng) {
    pause(500).await;
    if trouble.partitions {
        for _ in 0..3 {
            split(cluster, rng);
            pause(rng.random_range(1000..1200)).await;
        }
        cluster.network().heal_all();
        pause(500).await;
    }
    if trouble.crash {
        cluster.fault_all([0], ReplicaFault::Stop).await;
        pause(200).await;
        cluster.fault_all([0], ReplicaFault::Start).await;
        pause(500).await;
    }
}

/// Each client appends to its own key and reads it: every append is there, once, in order, at each moment.
async fn own_keys(trouble: Trouble) {
    let cluster = start(trouble).await;
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<_> = (0..trouble.clients)
        .map(|nth| {
            let (client, stop, mut rng) = (cluster.client(), Arc::clone(&stop), cluster.seed.rng(10 + nth));
            let key = key((nth % 10) as u32, (nth / 10) as usize);
            tokio::spawn(async move {
                let mut expected = String::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if rng.random_range(0..100) < 50 {
                        let more = format!("x {nth} {n} y");
                        client.append(&key, &more).await;
                        expected.push_str(&more);
                    } else {
                        client.check(&key, &expected).await;
                    }
                }
                client.check(&key, &expected).await;
            })
        })
        .collect();
    let mut rng = cluster.seed.rng(1);
    for _ in 0..trouble.rounds {
        round(&cluster, trouble, &mut rng).await;
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client has failed");
    }
    cluster.check_logs([0]).await;
    if trouble.snapshots_at.is_some() {
        cluster.check_snapshots([0]).await;
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_of_a_healthy_group_reads_what_it_wrote() {
    own_keys(Trouble { replicas: 5, clients: 1, rounds: 2, ..Trouble::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_lose_and_double_no_append() {
    own_keys(Trouble { replicas: 5, clients: 5, rounds: 1, partitions: true, ..Trouble::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_of_all_replicas_lose_and_double_no_append_and_logs_stay_short() {
    let trouble = Trouble { replicas: 5, clients: 10, rounds: 3, crash: true, ..Trouble::default() };
    own_keys(Trouble { snapshots_at: Some(1000), ..trouble }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_crashes_and_losses_together_lose_and_double_no_append() {
    let trouble = Trouble { replicas: 5, clients: 5, rounds: 1, crash: true, partitions: true, ..Trouble::default() };
    own_keys(Trouble { unreliable: true, snapshots_at: Some(1000), ..trouble }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn partitions_crashes_and_losses_together_lose_and_double_no_append_long() {
    let trouble = Trouble { replicas: 5, clients: 5, rounds: 8, crash: true, partitions: true, ..Trouble::default() };
    own_keys(Trouble { unreliable: true, snapshots_at: Some(1000), ..trouble }).await;
}

async fn linearizable(trouble: Trouble) {
    let cluster = start(trouble).await;
    let clients = RandomClients::start(&cluster, trouble.clients);
    let mut rng = cluster.seed.rng(1);
    for _ in 0..trouble.rounds {
        round(&cluster, trouble, &mut rng).await;
    }
    clients.judge().await;
    cluster.check_logs([0]).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifteen_clients_of_seven_replicas_in_every_trouble_see_a_linearizable_store() {
    let trouble = Trouble { replicas: 7, clients: 15, rounds: 1, crash: true, partitions: true, ..Trouble::default() };
    linearizable(Trouble { unreliable: true, snapshots_at: Some(1000), ..trouble }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long"]
async fn fifteen_clients_of_seven_replicas_in_every_trouble_see_a_linearizable_store_long() {
    let trouble = Trouble { replicas: 7, clients: 15, rounds: 6, crash: true, partitions: true, ..Trouble::default() };
    linearizable(Trouble { unreliable: true, snapshots_at: Some(1000), ..trouble }).await;
}
