//! Where the ports meet openraft: the type configuration, one adapter per port, the translation of errors.
//!
//! Promises: this is the only module that names openraft; what leaves it are the library's own types.
//! Leaves out: everything that needs more than one replica's knowledge (see [`crate::group`] and [`crate::reads`]).

mod alone;
mod applied;
mod compaction;
mod digests;
mod durable;
mod inbound;
mod leadership;
mod log;
mod machine;
mod network;
mod proposer;
mod recover;
mod replica;
mod runtime;
mod state;
mod stillness;
#[cfg(test)]
mod suite;
mod types;
mod unflushed;
mod watch;

pub(crate) use alone::{Attempt, OwnLog, go_alone};
pub(crate) use proposer::Proposed;
pub(crate) use recover::{Found, Stores, look, stand_alone};
pub(crate) use replica::{NotHere, Replica, ReplicaSpec};
pub(crate) use state::{State, edited};
