//! What the claims share: a world to run in, a cluster in it, a machine, an oracle.

mod cluster;
mod durable;
mod machine;
mod oracle;
mod world;

pub(crate) use cluster::{CALL, Cluster, GROUP};
pub(crate) use durable::{Disk, MUCH};
pub(crate) use machine::{Answer, Command, Query, Register, Unreadable};
pub(crate) use oracle::{Oracle, Seen};
pub(crate) use world::{World, in_real_time, in_virtual_time, with_seed};

/// Makes each named `async fn(World)` two tests.
macro_rules! claims {
    ($($name:ident),* $(,)?) => {
        mod in_real_time {
            $(#[test] fn $name() { $crate::common::in_real_time(super::$name); })*
        }
        mod in_virtual_time {
            $(#[test] fn $name() { $crate::common::in_virtual_time(super::$name); })*
        }
    };
}
pub(crate) use claims;
