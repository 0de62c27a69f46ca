//! What the tests of the sharded store share.

mod appenders;
mod client;
mod cluster;
mod keys;
mod looking;
mod random_clients;
mod setup;
pub(crate) mod stage;
mod wait;

pub(crate) use appenders::{Appenders, Expected};
pub(crate) use client::{Client, json};
pub(crate) use cluster::Cluster;
pub(crate) use keys::{SHARDS, key, keys, text};
pub(crate) use looking::{status, work};
pub(crate) use quorate_harness::seed::Seed;
pub(crate) use random_clients::RandomClients;
pub(crate) use setup::{Setup, gid};
pub(crate) use wait::{PATIENCE, eventually, pause};
