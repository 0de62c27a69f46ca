//! What is run in a simulation.

use std::time::Duration;

use super::plan::Kind;
use super::world::Sim;

/// How large a scenario's world is, and what may befall it.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes, numbered from 1.
    pub nodes: u64,
    /// How long faults come and clients call.
    pub length: Duration,
    /// How many clients there are, and ...
    pub clients: u64,
    /// ... how many operations each calls at most.
    pub operations: u64,
    /// About how many faults a seed has; it has between none and twice as many.
    pub faults: u64,
    /// What may befall it. Named several times, it comes as often more.
    pub suffers: Vec<Kind>,
}

/// Something that is run on simulated nodes, and judged.
#[async_trait::async_trait(?Send)]
pub trait Scenario: Sync {
    /// Its name: a word or two joined by hyphens.
    fn name(&self) -> &str;

    /// What it shows, in a line.
    fn about(&self) -> &str;

    /// The size of its world.
    fn shape(&self) -> Shape;

    /// Runs it: starts the nodes ([`Sim::start`]), has clients call while [`Sim::disturb`] carries the faults out, then has
    /// the world calm down ([`Sim::calm`]) and judges what came of it. What is wrong is reported by [`Sim::violate`]; the
    /// run ends with the first violation. A panic, here or on a node, is one too.
    async fn run(&self, sim: &Sim);
}
