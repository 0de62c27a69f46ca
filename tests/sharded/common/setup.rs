//! How a test's store is made.

use std::time::Duration;

use quorate::GroupOptions;
use quorate::transport::{Link, LinkFaults};
use quorate_nodes::embedded::World;
use quorate_nodes::kv::{DriverOptions, ShardedStore, StoreOptions};
use quorate_statemachines::Gid;

use super::{Cluster, Seed};

/// A store to be started.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(super) groups: usize,
    pub(super) options: GroupOptions,
    pub(super) store: StoreOptions,
    unreliable: bool,
}

/// The name of the `nth` group.
pub(crate) fn gid(nth: usize) -> Gid {
    Gid::new(format!("g{nth}"))
}

/// What an unreliable network does: each message takes up to 26 ms and may overtake others; a tenth of the requests and
/// a tenth of the replies are lost.
fn unreliable() -> LinkFaults {
    LinkFaults {
        delay_max: Duration::from_millis(26),
        drop_requests: 0.1,
        drop_replies: 0.1,
        reorder: true,
        ..LinkFaults::none()
    }
}

impl Setup {
    /// A controller and so many shard groups, of three replicas each, that take no snapshots. All groups run from the
    /// start; a group owns nothing before it joins.
    pub(crate) fn groups(groups: usize) -> Setup {
        let options = GroupOptions {
            heartbeat: Duration::from_millis(50),
            election_timeout: (Duration::from_millis(300), Duration::from_millis(600)),
            snapshot_log_bytes: u64::MAX,
            snapshot_keep_entries: 4,
            ..GroupOptions::default()
        };
        Setup { groups, options, store: StoreOptions::default(), unreliable: false }
    }

    /// So many replicas in each group.
    pub(crate) fn replicas(mut self, replicas: usize) -> Setup {
        self.store.replicas = replicas;
        self
    }

    /// Snapshots are taken when a log is longer than so many bytes.
    pub(crate) fn snapshots_at(mut self, log_bytes: u64) -> Setup {
        self.options.snapshot_log_bytes = log_bytes;
        self
    }

    /// The network loses and delays messages.
    pub(crate) fn unreliable(mut self) -> Setup {
        self.unreliable = true;
        // A third of all exchanges fail: a leader needs several rounds to be heard.
        self.options.election_timeout = (Duration::from_millis(500), Duration::from_millis(1000));
        self
    }

    /// How shards are moved.
    pub(crate) fn moves(mut self, driver: DriverOptions) -> Setup {
        self.store.driver = driver;
        self
    }

    pub(super) fn world(&self, seed: &Seed) -> World {
        World::new(self.options.clone(), seed.number())
    }

    /// Starts it.
    pub(crate) async fn start(self) -> Cluster {
        let seed = Seed::of("sharded");
        let world = self.world(&seed);
        let store = ShardedStore::start(world, self.store.clone()).await.expect("the controller starts");
        store.ensure_groups((0..self.groups).map(gid)).await.expect("the groups start");
        let log_bytes = (self.options.snapshot_log_bytes < u64::MAX).then_some(self.options.snapshot_log_bytes);
        let cluster = Cluster::new(store, seed, log_bytes);
        if self.unreliable {
            cluster.network().set_faults(Link::ALL, unreliable());
        }
        cluster
    }
}
