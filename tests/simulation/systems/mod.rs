//! Quorate's own systems in the simulation: sharded store and masters, each with what may befall it and what must hold.

mod kept_log;
mod sharded;

use quorate_harness::sim::Scenario;

use self::sharded::ShardedKv;
use self::sharded::follower_reads::FollowerReads;
use self::sharded::scatter::Scatter;

/// All of them.
pub(crate) const ALL: &[&dyn Scenario] = &[&ShardedKv, &FollowerReads, &Scatter];

/// Seeds that once found something, by their scenarios.
pub(crate) const FOUND: &[(&str, u64)] = &[];
