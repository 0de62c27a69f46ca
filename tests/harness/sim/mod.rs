//! Simulation: a cluster in one thread, in virtual time, where one seed decides everything.
//!
//! A [`Scenario`] says what runs on the nodes, what clients do and what must hold; a [`Plan`], drawn from a seed, says which
//! faults come when and which operations are called. [`run_seed`] and [`run_plan`] run it and give an [`Outcome`].
//!
//! Promises: the same scenario and plan give the same trace, byte by byte, in any process; a node's tasks stand still while
//! it is paused and never run again once it has crashed; after a crash its disk holds what was synced and some of the rest.
//! Leaves out: threads, files of the operating system and whatever else has a time of its own: other drivers have those.
//!
//! From the outside in: `run` makes the world and judges its end; `world` has the nodes, `node` one of them with its `env`,
//! `disk` and `wire`; `nemesis` carries the plan's faults out; `observer` sees every step and hands it to the `invariants`;
//! `cluster` runs replicated groups on all nodes.

mod cluster;
pub mod command;
mod counts;
mod disk;
mod draw;
mod env;
mod heal;
mod invariants;
mod life;
mod nemesis;
mod observer;
mod outcome;
mod panics;
mod plan;
pub mod regressions;
mod run;
mod scenario;
pub mod scenarios;
mod shrink;
mod story;
#[cfg(test)]
mod tests;
mod trace;
mod watched;
mod wire;
mod world;

pub use cluster::{Process, Replicas, Settings, actions};
pub use counts::Counts;
pub use env::NodeEnv;
pub use heal::heal;
pub use life::{AnyProcess, Life, Program};
pub use observer::Observer;
pub use outcome::{Outcome, Violation};
pub use plan::{Kind, Plan, Planned, Target};
pub use run::{Recording, run_plan, run_seed};
pub use scenario::{Scenario, Shape};
pub use shrink::{Shrunken, shrink};
pub use story::story;
pub use trace::Trace;
pub use watched::Watched;
pub use world::{Running, Sim, Ticket};
