//! Shard groups on a disk: processes that are killed, files that are damaged, replicas that restart and catch up.
//!
//! A randomised test prints its seed; `QUORATE_SEED=<seed>` tries the same again.

#![allow(clippy::unwrap_used)]

mod common;
mod flips;
mod groups;
mod kill;
mod speed;
