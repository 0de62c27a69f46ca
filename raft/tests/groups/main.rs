//! Groups of replicas over the memory network, with faults: every claim is tried twice, in real time on several threads
//! and in virtual time on one.
//!
//! A randomised claim prints its seed; the same seed is tried again by
//! `QUORATE_SEED=<seed> cargo test -p quorate --test groups -- <name>`.

#![allow(clippy::unwrap_used)]

mod common;

mod bounded;
mod calls;
mod deadlines;
mod digests;
mod durable;
mod faults;
mod histories;
mod hosts;
mod membership;
mod metrics;
mod persisting;
mod quiet;
mod reads;
mod recovery;
mod remote;
mod restarts;
mod sessions;
mod snapshots;
mod state;
mod strays;
mod transfer;
mod two_masters;
mod versions;
