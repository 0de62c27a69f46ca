//! Data directories: whose one is, how often it was started on, and the log and the snapshots of the groups in it.
//!
//! Promises: a directory serves one node of one topology, and one process at a time; what opens is whole.
//! Leaves out: what a node does with it; the keys of shard groups on a disk, which are a server's.

pub(crate) mod identity;
mod lives;
mod stores;
mod whose;

pub(crate) use lives::{begin_life, seed_of_life};
pub(crate) use stores::{OfGroup, Stores, small_log};
pub(crate) use whose::{Whose, directory_of};
