//! Disks that become full and empty again: writes are refused meanwhile, nothing stops, and nothing acknowledged is lost
//! (`docs/storage.md`).

use std::time::Duration;

use futures::future::{join, join_all};

use super::machine::Registers;
use super::registers::{act, judge};
use crate::sim::cluster::{Replicas, Settings};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

/// The scenario `full-disks`.
#[derive(Debug)]
pub struct FullScenario;

#[async_trait::async_trait(?Send)]
impl Scenario for FullScenario {
    fn name(&self) -> &str {
        "full-disks"
    }

    fn about(&self) -> &str {
        "a full disk refuses writes, stops nothing, and service resumes when there is room"
    }

    fn shape(&self) -> Shape {
        let suffers = [vec![Kind::FullDisk; 6], vec![Kind::Kill, Kind::Pause, Kind::Isolate, Kind::SlowDisk]].concat();
        Shape { nodes: 3, length: Duration::from_secs(4), clients: 3, operations: 50, faults: 5, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        Replicas::new(Settings::small(), |_, _| Registers::default()).start(sim, shape.nodes).await;
        let calls = sim.history();
        let clients = join_all((0..shape.clients).map(|client| act::<Registers>(sim, &shape, client, &calls)));
        join(clients, sim.disturb()).await;
        if !heal::<Registers>(sim, 1, true).await {
            return;
        }
        judge(sim, &calls);
    }
}
