//! The sharded store under joins, leaves, crashes and a bad network: what its clients are promised holds.
//!
//! Each test starts a whole store in this process, real Raft groups over the memory network, and prints the seed of its
//! random choices; `QUORATE_SEED` repeats them. Thread timing is not part of the seed: repeat a failure several times.
//! The longest variants are ignored by default:
//!
//! ```text
//! cargo test -p quorate-tests --test sharded -- --ignored
//! ```

mod common;

mod concurrent;
mod controller;
mod controller_batches;
mod deletion;
mod holding;
mod isolation;
mod membership;
mod move_steps;
mod one_group;
mod partial;
mod partitions;
mod scans;
mod unreliable;
