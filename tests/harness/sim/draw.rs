//! How a plan follows from a seed.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::plan::{Kind, Plan, Planned, Target};
use super::scenario::{Scenario, Shape};

impl Plan {
    /// The plan that follows from `seed`.
    pub fn draw(scenario: &dyn Scenario, seed: u64) -> Plan {
        let shape = scenario.shape();
        let mut random = SmallRng::seed_from_u64(seed ^ 0x706c_616e);
        let count = if shape.suffers.is_empty() { 0 } else { random.random_range(0..=2 * shape.faults) };
        let mut faults: Vec<Planned> = (0..count).map(|_| fault(&shape, &mut random)).collect();
        faults.sort_by_key(|fault| fault.at);
        Plan { faults, ..Plan::calm(scenario.name(), seed) }
    }
}

fn fault(shape: &Shape, random: &mut SmallRng) -> Planned {
    let length = shape.length.as_millis() as u64;
    let kind = shape.suffers[random.random_range(0..shape.suffers.len())].clone();
    let target = match random.random_range(0..4) {
        0 => Target::Node(random.random_range(1..=shape.nodes)),
        1 => Target::Follower(random.random_range(0..shape.nodes)),
        _ => Target::Leader,
    };
    // Mostly about as long as an election, sometimes so long that everybody gives up.
    let lasts = match random.random_range(0..4) {
        0 => random.random_range(1..100),
        1 => random.random_range(500..=2_000),
        _ => random.random_range(100..600),
    };
    let amount = match kind {
        Kind::BadNetwork => random.random_range(1..40),
        Kind::SlowNetwork => random.random_range(5..120),
        Kind::SlowDisk => random.random_range(1..60),
        Kind::FullDisk => random.random_range(0..400_000),
        // From a second to a day.
        Kind::ClockAhead | Kind::ClockBehind => 1_000 << random.random_range(0..17),
        _ => random.random_range(0..1 << 20),
    };
    Planned { at: random.random_range(0..length), lasts, kind, target, amount }
}
