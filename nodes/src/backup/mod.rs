//! A cluster's content in a directory: made while the cluster serves (`quorate ctl backup`), and made a cluster of again, under
//! another number (`quorate restore`).
//!
//! Promises: a backup holds every group whole, the configuration log among them, at one configuration in which nothing moves, with
//! everything that was acknowledged before it was begun; what is damaged or unfinished is refused, not restored.
//! Leaves out: one moment for all groups: what is written while the backup is made is in it or not, group by group.

mod make;
mod manifest;
mod restore;

pub(crate) use make::make;
pub(crate) use restore::restore_node;
pub use restore::{RestoreFlags, restore};
