//! Groups of replicas whose nodes reach each other over gRPC on the loopback interface.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../groups/common/durable.rs"]
#[allow(dead_code, unreachable_pub)]
mod durable;
#[path = "../groups/common/machine.rs"]
#[allow(dead_code, unreachable_pub)]
mod machine;

use durable::Disk;
use machine::Register;

mod calls;
mod groups;
mod pipelining;
mod silence;
mod sizes;
mod snapshots;
mod strangers;
mod trust;
