//! Quorate: write a deterministic state machine, get a linearizable, fault-tolerant service.
//!
//! - Write a [`StateMachine`]: commands change it, queries look at it.
//! - Make a [`Host`] for each node, and a [`Group`] of replicas on several hosts.
//! - [`Group::write`] has a command committed by a majority and applied, through a session exactly once; [`Group::read`]
//!   answers as freshly as its [`Consistency`] asks, on any replica, and says what the answer proves.
//!
//! The ports ([`log`], [`snapshot`], [`transport`], [`mod@env`], [`fs`]) never call each other; the engine joins them to
//! the consensus core; reads, groups and hosts stand above it. `docs/architecture.md` has the picture, `docs/guarantees.md`
//! the promises, `docs/state-machine.md` the way to a machine of your own.

mod engine;
pub mod env;
pub mod error;
pub mod fs;
pub mod group;
pub mod host;
pub mod log;
pub mod machine;
pub mod metrics;
pub mod planted;
mod quiet;
pub mod reads;
pub mod sessions;
pub mod snapshot;
pub mod transport;
pub mod types;
pub mod watch;

pub use error::{AdminError, Fatal, ReadError, Rejected, Unknown, WriteError};
pub use group::{Described, Group, GroupOptions, Leadership, Role, Status, WriteOptions, Written};
pub use host::{
    Evidence, GroupSpec, Host, HostConfig, HostLimits, Recovery, Remains, RemoteGroup, TakeOver, TakeOverRefusal,
};
pub use machine::{CommandVersion, EntryContext, StateMachine, Versions};
pub use reads::{Consistency, Proof, ReadReply};
pub use types::{ClientId, ClusterId, GroupId, Index, LogId, LogTime, Membership, NodeId, Term};
