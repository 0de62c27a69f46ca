//! Metadata masters, three or two of them: a primary, its shadows, failovers by themselves and on an operator's word.
//!
//! Shows: an epoch has one primary; no acknowledged file is lost, and none is there that was refused; subscribers hear of each
//! epoch once; when all is well every shadow has caught up.

mod load;
mod node;

use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use quorate::{GroupOptions, NodeId};
use quorate_harness::sim::{Kind, Scenario, Shape, Sim};
use quorate_nodes::services::MasterOptions;
use rand::RngExt;

use self::load::{Client, Load};
use self::node::{FAILOVER, Mastery, Seen};

/// How long faults come.
const LENGTH: Duration = Duration::from_secs(5);

const CLIENTS: u64 = 3;
const OPERATIONS: u64 = 30;

/// How long the masters may take until all is well.
const HEAL: Duration = Duration::from_secs(60);

/// Who is told of every epoch.
pub(super) const WATCHER: &str = "watcher";

/// The scenario of so many masters.
pub(crate) struct MastersOf(pub(crate) u64);

#[async_trait(?Send)]
impl Scenario for MastersOf {
    fn name(&self) -> &str {
        if self.0 == 2 { "masters-2" } else { "masters-3" }
    }

    fn about(&self) -> &str {
        match self.0 {
            2 => "two metadata masters: one goes on alone, the other waits, nothing acknowledged is lost",
            _ => "three metadata masters: one primary in an epoch, nothing acknowledged is lost",
        }
    }

    fn shape(&self) -> Shape {
        let acts = [Kind::act(FAILOVER), Kind::act(FAILOVER), Kind::act(FAILOVER)];
        let suffers = Kind::all().into_iter().chain(acts).collect();
        Shape { nodes: self.0, length: LENGTH, clients: CLIENTS, operations: OPERATIONS, faults: 6, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let seen = Seen::new(sim);
        let (group, options) = settings(sim);
        sim.start(Mastery { masters: self.0, group, options, seen: seen.clone() }, self.0).await;

        let load = Load::new(sim, (1..=self.0).map(NodeId).collect(), seen.clone());
        if !load.subscribe(WATCHER, HEAL).await {
            return sim.violate("masters start", "nobody serves".into());
        }
        let since = seen.newest();
        let clients = (1..=CLIENTS).map(|process| Client::new(&load, process).run(OPERATIONS, LENGTH));
        futures::join!(sim.disturb(), join_all(clients), load.watch(LENGTH));

        sim.calm().await;
        load.settle(HEAL).await;
        load.judge(HEAL).await;
        seen.judge(|epochs| epochs.all_told(&[WATCHER], since));
    }
}

fn settings(sim: &Sim) -> (GroupOptions, MasterOptions) {
    let mut random = sim.random("settings", 0);
    let group = GroupOptions {
        heartbeat: Duration::from_millis(40),
        election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
        lease_margin: Duration::from_millis(30),
        snapshot_log_bytes: [3_000, u64::MAX][random.random_range(0..2)],
        snapshot_keep_entries: [2, 20][random.random_range(0..2)],
        ..GroupOptions::default()
    };
    let options = MasterOptions {
        failure_timeout: Duration::from_millis([400, 1_200][random.random_range(0..2)]),
        chunkserver_timeout: Duration::from_secs(3),
        ..MasterOptions::default()
    };
    (group, options)
}
