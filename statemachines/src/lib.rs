//! Quorate's state machines: what a group of replicas can agree on.

pub mod configlog;
pub mod kv;
pub mod master;
pub mod names;
pub mod register;
pub mod slot;

pub use names::{ConfigNumber, Gid, ShardId};
