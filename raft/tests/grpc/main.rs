//! Groups of replicas whose nodes reach each other over gRPC on the loopback interface.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../groups/common/machine.rs"]
#[allow(dead_code, unreachable_pub)]
mod machine;

mod calls;
mod groups;
mod pipelining;
mod silence;
mod sizes;
mod snapshots;
mod strangers;
mod trust;
