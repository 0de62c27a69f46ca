//! From a key to its shard: hash slots as Redis Cluster has them.
//!
//! Promises: keys with the same `{tag}` share a slot, so they share a shard at any number of shards; the mapping is
//! part of the stored format and never changes.
//! Leaves out: which group serves a shard; the configuration log tells.

use crc::{CRC_16_XMODEM, Crc, Table};

use crate::names::ShardId;

/// The number of hash slots.
pub const SLOTS: u16 = 16384;

const CRC16: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);

/// A hash slot, below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot's number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// The slot of a key: CRC16/XMODEM of its hash tag, or of the whole key when it has none.
pub fn slot(key: &str) -> Slot {
    Slot(CRC16.checksum(hashed_part(key).as_bytes()) % SLOTS)
}

/// The shard of a key when there are `shards` of them: shards are runs of slots of (almost) equal length.
///
/// # Panics
/// When there is no shard at all.
pub fn shard_of(key: &str, shards: u32) -> ShardId {
    assert!(shards > 0, "a key belongs to a shard, and there is none");
    let shard = u64::from(slot(key).number()) * u64::from(shards) / u64::from(SLOTS);
    // Below `shards`, since the slot is below SLOTS.
    ShardId(shard as u32)
}

/// What lies between the first `{` and the next `}` when that is not empty, otherwise the whole key.
///
/// As in Redis, an empty first pair of braces ends the search: `a{}{b}` has no tag.
fn hashed_part(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_checksum_is_crc16_xmodem() {
        assert_eq!(CRC16.checksum(b"123456789"), 0x31C3);
    }

    #[test]
    fn known_keys_have_the_slots_that_redis_gives_them() {
        let table = [
            ("", 0),
            ("123456789", 0x31C3),
            ("foo", 12182),
            ("bar", 5061),
            ("hello", 866),
            ("somekey", 11058),
            ("foo{hash_tag}", 2515),
            ("bar{hash_tag}", 2515),
            ("user1000", 3443),
            ("{user1000}.following", 3443),
            ("{user1000}.followers", 3443),
        ];
        for (key, expected) in table {
            assert_eq!(slot(key).number(), expected, "key {key:?}");
        }
    }

    #[test]
    fn only_a_tag_that_is_first_closed_and_not_empty_is_hashed() {
        let table = [
            ("plain", "plain"),
            ("{a}b", "a"),
            ("b{a}", "a"),
            ("{a}{b}", "a"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("foo{bar", "foo{bar"),
            ("foo}bar{", "foo}bar{"),
            ("}{a}", "a"),
            ("{}", "{}"),
            ("é{ü}", "ü"),
        ];
        for (key, expected) in table {
            assert_eq!(hashed_part(key), expected, "key {key:?}");
        }
    }

    #[test]
    fn shards_are_runs_of_slots() {
        // "foo" has slot 12182 of 16384, "" has slot 0.
        let table = [("foo", 1, 0), ("foo", 2, 1), ("foo", 10, 7), ("foo", 16384, 12182), ("", 10, 0), ("bar", 10, 3)];
        for (key, shards, expected) in table {
            assert_eq!(shard_of(key, shards), ShardId(expected), "key {key:?} of {shards}");
        }
    }

    proptest! {
        #[test]
        fn every_key_has_one_of_the_shards(key in ".*", shards in 1u32..=u32::MAX) {
            prop_assert!(shard_of(&key, shards).0 < shards);
        }
    }
}
