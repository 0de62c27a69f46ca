//! Keys by their shards, and random values.

use std::sync::Arc;

use quorate_statemachines::ShardId;
use quorate_statemachines::slot::shard_of;
use rand::RngExt;
use rand::rngs::SmallRng;

/// How many shards the stores of these tests have.
pub(crate) const SHARDS: u32 = 10;

/// The `nth` key of a shard.
pub(crate) fn key(shard: u32, nth: usize) -> Arc<str> {
    let mut candidates = (0..).map(|n| format!("k{n}")).filter(|key| shard_of(key, SHARDS) == ShardId(shard));
    candidates.nth(nth).expect("numbers do not end").into()
}

/// One key of each shard; the key at `shard` belongs to that shard.
pub(crate) fn keys() -> Vec<Arc<str>> {
    (0..SHARDS).map(|shard| key(shard, 0)).collect()
}

/// A random text.
pub(crate) fn text(rng: &mut SmallRng, length: usize) -> String {
    (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}
