//! What goes wrong while the claims of [`crate::bounded`], [`crate::sessions`] and [`crate::histories`] must hold, and
//! that a network at its worst breaks nothing by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate::NodeId;
use quorate::transport::{Link, LinkFaults};

use crate::common::{CALL, Cluster, Command, World, claims};

claims!(duplicated_delayed_and_reordered_messages_break_nothing, a_group_lives_through_every_fault_and_serves_again,);

/// A network at its worst, short of being cut.
pub(crate) fn bad_network() -> LinkFaults {
    LinkFaults {
        delay_min: Duration::ZERO,
        delay_max: Duration::from_millis(15),
        drop_requests: 0.03,
        drop_replies: 0.03,
        duplicate: 0.2,
        reorder: true,
    }
}

/// Something that goes wrong, chosen at random, and later ends.
pub(crate) struct Nemesis {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Nemesis {
    /// Starts to disturb `cluster`.
    pub(crate) fn start(cluster: &Arc<Cluster>) -> Nemesis {
        let stop = Arc::<AtomicBool>::default();
        let (cluster, stopped) = (Arc::clone(cluster), Arc::clone(&stop));
        let world = cluster.world.fork();
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                disturb(&world, &cluster).await;
                cluster.calm().await;
                world.sleep(Duration::from_millis(world.below(500))).await;
            }
        });
        Nemesis { stop, task }
    }

    /// Ends it, and all that it did.
    pub(crate) async fn end(self, cluster: &Cluster) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        cluster.calm().await;
    }
}

async fn disturb(world: &World, cluster: &Cluster) {
    let nodes = cluster.running();
    let (a, b) = (world.pick(&nodes), world.pick(&nodes));
    let leader = cluster.group(a).status().leadership.leader.unwrap_or(a);
    let network = &cluster.network;
    let while_it_lasts = Duration::from_millis(100 + world.below(900));
    match world.below(9) {
        0 => network.isolate(a),
        1 => network.isolate(leader),
        2 => network.cut(Link::one(a, b)),
        3 => network.cut(Link::into(leader)),
        4 => network.cut(Link::out_of(leader)),
        5 => network.pause(leader),
        6 => network.set_faults(Link::ALL, bad_network()),
        7 => cluster.stop(a).await,
        _ => {
            // Refused or not, arrived or not: the group goes on.
            let _ = cluster.group(a).transfer_leadership(b, Duration::from_secs(1)).await;
        }
    }
    world.sleep(while_it_lasts).await;
}

async fn duplicated_delayed_and_reordered_messages_break_nothing(world: World) {
    let cluster = world.cluster(3).await;
    cluster.network.set_faults(Link::ALL, bad_network());
    let mut list = Vec::new();
    for value in 0..60 {
        let via = world.pick(&cluster.running());
        if cluster.write(via, Command::Push { value }, Duration::from_secs(5)).await.is_ok() {
            list.push(value);
        }
    }
    cluster.calm().await;
    let (_, held) = cluster.converge().await;
    let acknowledged: Vec<_> = held.iter().copied().filter(|value| list.contains(value)).collect();
    assert_eq!(acknowledged, list, "an acknowledged write was lost, repeated or moved");
    assert!(list.len() > 20, "hardly anything was acknowledged: {list:?}");
}

async fn a_group_lives_through_every_fault_and_serves_again(world: World) {
    let cluster = Arc::new(world.cluster(5).await);
    let nemesis = Nemesis::start(&cluster);
    let mut acknowledged = 0;
    for value in 0..40 {
        let via = NodeId(1 + world.below(5));
        if let Some(group) = cluster.group_if_running(via) {
            let options = quorate::WriteOptions { session: None, timeout: Duration::from_secs(1) };
            acknowledged += u64::from(group.write(&Command::Push { value }, options).await.is_ok());
        }
        world.sleep(Duration::from_millis(50)).await;
    }
    nemesis.end(&cluster).await;
    for node in cluster.running() {
        cluster.raise(node, 1, node.0).await;
        assert!(cluster.write(node, Command::Add { key: 2, amount: 1 }, CALL).await.is_ok());
    }
    let (_, held) = cluster.converge().await;
    assert!(held.len() as u64 >= acknowledged);
}
