//! Many groups on few nodes that fall quiet between calls, and wake when they are asked (`docs/idle-groups.md`).

use std::time::Duration;

use futures::future::{join, join_all};
use quorate::{GroupId, GroupOptions};

use super::machine::Registers;
use super::registers::{act_on, judge};
use crate::sim::cluster::{Replicas, Settings, actions};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

const GROUPS: u64 = 6;

/// The scenario `quiet-groups`.
#[derive(Debug)]
pub struct QuietScenario;

#[async_trait::async_trait(?Send)]
impl Scenario for QuietScenario {
    fn name(&self) -> &str {
        "quiet-groups"
    }

    fn about(&self) -> &str {
        "six groups that sleep whenever they can are linearizable, each by itself, and wake when they are needed"
    }

    fn shape(&self) -> Shape {
        let suffers = [Kind::network(), Kind::process(), Kind::disk(), vec![Kind::act(actions::TRANSFER)]].concat();
        Shape { nodes: 3, length: Duration::from_secs(5), clients: GROUPS, operations: 16, faults: 5, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        let small = Settings::small();
        let options = GroupOptions { quiesce_after: Some(Duration::from_millis(200)), ..small.options };
        let settings = Settings { groups: GROUPS, options, ..small };
        Replicas::new(settings, |_, _| Registers::default()).start(sim, shape.nodes).await;
        let histories: Vec<_> = (0..GROUPS).map(|_| sim.history()).collect();
        // Two clients for each group: its own, and its neighbour's.
        let clients = join_all((0..shape.clients).map(|client| {
            let (own, next) = (client % GROUPS, (client + 1) % GROUPS);
            let calls = [(own, &histories[own as usize]), (next, &histories[next as usize])];
            let shape = &shape;
            async move {
                for number in 0..shape.operations {
                    let (group, calls) = calls[number as usize % 2];
                    act_on::<Registers>(sim, shape, client, number, GroupId(group + 1), calls).await;
                }
            }
        }));
        join(clients, sim.disturb()).await;
        if !heal::<Registers>(sim, GROUPS, true).await {
            return;
        }
        histories.iter().for_each(|calls| judge(sim, calls));
    }
}
