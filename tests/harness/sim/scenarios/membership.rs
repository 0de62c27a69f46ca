//! Registers of a group whose members come and go: five nodes, of which three to five belong to it at a time (thesis §4).

use std::time::Duration;

use futures::future::{join, join_all};

use super::machine::Registers;
use super::registers::{act, judge};
use crate::sim::cluster::{Replicas, Settings, actions};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

/// The scenario `membership`.
#[derive(Debug)]
pub struct MembershipScenario;

#[async_trait::async_trait(?Send)]
impl Scenario for MembershipScenario {
    fn name(&self) -> &str {
        "membership"
    }

    fn about(&self) -> &str {
        "registers stay linearizable while members are added, removed and replaced"
    }

    fn shape(&self) -> Shape {
        let changes = [actions::ADD, actions::REMOVE, actions::REPLACE, actions::TRANSFER, actions::SNAPSHOT];
        let changes: Vec<Kind> = changes.iter().map(|name| Kind::act(name)).collect();
        let faults = [Kind::network(), Kind::process(), vec![Kind::SlowDisk]].concat();
        let suffers = [faults, Kind::times(4, &changes)].concat();
        Shape { nodes: 5, length: Duration::from_secs(4), clients: 3, operations: 40, faults: 8, suffers }
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
