//! A whole cluster in one process: real Raft groups over the memory network, each replica a node of its own that can be
//! stopped, started, paused and cut off.
//!
//! Promises: what a replica's stores held when it was stopped is there when it is started again; on a data directory, also
//! when the process is.
//! Leaves out: without a data directory, durability beyond the process.

mod disk;
mod group;
mod reach;
mod world;

pub(crate) use group::nodes;
pub use group::{EmbeddedGroup, Life, Power, ReplicaFault};
pub use world::World;
