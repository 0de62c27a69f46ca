//! How the database's keys are laid out: one sequence for all groups, a prefix for each part of each copy of a shard.
//!
//! | bytes | what |
//! |---|---|
//! | `0`, number | a signature of each batch: the chain (see [`super::chain`]) |
//! | `1`, group, 0 | the group's head: all that is small, and the envelope |
//! | `1`, group, copy, part, name | a key, a session or a mark of one copy |
//!
//! Numbers are big-endian, so that they sort. A *copy* is one incarnation of a shard's data here: served, staged, kept or
//! being taken in, each has a number of its own that is never used again, so that they exist side by side.

use std::ops::Range;

use quorate::GroupId;
use twox_hash::XxHash3_128;

/// The database takes keys of up to 65,535 bytes, prefix included. Longer ones are kept under a digest.
pub(in crate::kv) const NAME_BYTES_MAX: usize = 60_000;

/// Which copy of a shard's data; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kv) struct CopyId(pub(in crate::kv) u64);

/// The parts of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kv) enum Part {
    /// Keys and their values, in the order of the keys.
    Keys = 0,
    /// Keys that are too long for the database's.
    LongKeys = 1,
    /// Sessions, by client.
    Sessions = 2,
    /// Marks, by item.
    Marks = 3,
}

pub(super) fn chain(number: u64) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

pub(super) fn chain_range() -> Range<Vec<u8>> {
    vec![0]..vec![1]
}

/// The number of a chain record.
pub(super) fn chain_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(&[0])?.try_into().ok()?))
}

/// What a batch leaves in the chain: the floor in force, and its signature.
pub(super) fn chain_record(floor: u64, batch: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&floor.to_be_bytes());
    bytes[8..].copy_from_slice(&batch.to_be_bytes());
    bytes
}

pub(super) fn chain_record_of(value: &[u8]) -> Option<(u64, u64)> {
    let (floor, batch) = value.split_at_checked(8)?;
    Some((u64::from_be_bytes(floor.try_into().ok()?), u64::from_be_bytes(batch.try_into().ok()?)))
}

pub(super) fn copy(group: GroupId, copy: CopyId) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.push(1);
    bytes.extend_from_slice(&group.0.to_be_bytes());
    bytes.extend_from_slice(&copy.0.to_be_bytes());
    bytes
}

/// Where the head of a group is.
pub(super) fn head(group: GroupId) -> Vec<u8> {
    copy(group, CopyId(0))
}

/// From the first key of a copy to the first after it.
pub(super) fn copy_range(group: GroupId, id: CopyId) -> Range<Vec<u8>> {
    copy(group, id)..copy(group, CopyId(id.0 + 1))
}

/// The end of all copies of a group.
pub(super) fn group_end(group: GroupId) -> Vec<u8> {
    let mut bytes = copy(group, CopyId(u64::MAX));
    bytes.push(u8::MAX);
    bytes
}

/// Which copy a key belongs to.
pub(super) fn copy_of(key: &[u8]) -> Option<CopyId> {
    Some(CopyId(u64::from_be_bytes(key.get(9..17)?.try_into().ok()?)))
}

/// How many bytes come before the name in a part.
pub(super) const PREFIX_BYTES: usize = 18;

pub(super) fn part(group: GroupId, id: CopyId, part: Part) -> Vec<u8> {
    let mut bytes = copy(group, id);
    bytes.push(part as u8);
    bytes
}

pub(super) fn part_end(group: GroupId, id: CopyId, of: Part) -> Vec<u8> {
    let mut bytes = copy(group, id);
    bytes.push(of as u8 + 1);
    bytes
}

/// The key of what is called `name` in a part; a name that is too long is replaced by its digest, and then belongs into its
/// value too.
pub(super) fn named(group: GroupId, id: CopyId, of: Part, name: &[u8]) -> Vec<u8> {
    let mut bytes = part(group, id, of);
    if of == Part::LongKeys || name.len() > NAME_BYTES_MAX {
        bytes.extend_from_slice(&XxHash3_128::oneshot(name).to_be_bytes());
    } else {
        bytes.extend_from_slice(name);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_and_parts_do_not_overlap_and_sort_by_their_numbers() {
        let group = GroupId(7);
        let key = |id, of, name: &[u8]| named(group, CopyId(id), of, name);
        let sorted = [
            head(group),
            key(1, Part::Keys, b""),
            key(1, Part::Keys, b"\xff\xff"),
            part_end(group, CopyId(1), Part::Keys),
            key(1, Part::LongKeys, b"a"),
            key(1, Part::Sessions, b"a"),
            key(1, Part::Marks, b"a"),
            key(256, Part::Keys, b"a"),
            group_end(group),
            head(GroupId(8)),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
        assert!(copy_range(group, CopyId(1)).contains(&key(1, Part::Marks, &[0xff; 300])));
        assert!(!copy_range(group, CopyId(1)).contains(&key(2, Part::Keys, b"")));
        assert_eq!(copy_of(&key(256, Part::Keys, b"a")), Some(CopyId(256)));
        assert_eq!(key(1, Part::Keys, b"a").len(), PREFIX_BYTES + 1);
        assert_eq!(chain_number(&chain(300)), Some(300));
    }

    #[test]
    fn a_name_that_is_too_long_fits_all_the_same() {
        let long = vec![b'x'; NAME_BYTES_MAX + 1];
        let key = named(GroupId(1), CopyId(1), Part::Marks, &long);
        assert_eq!(key.len(), PREFIX_BYTES + 16);
        assert_ne!(key, named(GroupId(1), CopyId(1), Part::Marks, &[long, vec![b'x']].concat()));
    }
}
