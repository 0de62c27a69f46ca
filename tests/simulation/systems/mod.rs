//! Quorate's own systems in the simulation: sharded store and masters, each with what may befall it and what must hold.

mod kept_log;
mod masters;
mod sharded;
#[cfg(test)]
mod tests;

use quorate_harness::sim::Scenario;

use self::masters::MastersOf;
use self::sharded::ShardedKv;
use self::sharded::follower_reads::FollowerReads;
use self::sharded::scatter::Scatter;

/// All of them.
pub(crate) const ALL: &[&'static dyn Scenario] = &[&ShardedKv, &FollowerReads, &Scatter, &MastersOf(3), &MastersOf(2)];

#[cfg(test)]
/// Seeds that once found something, by their scenarios.
pub(crate) const FOUND: &[(&str, u64)] = &[];
