//! A record: one operation of one group, as its bytes stand in a segment.
//!
//! ```text
//!  0  u64  XXH3 of all that follows, seeded with the segment's salt
//!  8  u32  length of the payload
//! 12  u8   kind
//! 13  u8   version of the payload
//! 14  u16  zero
//! 16  u64  sequence number: one more than the record before, in whatever segment
//! 24  u64  synced: the last sequence number that was on disk for certain when this was written
//! 32  u64  group
//! 40       payload, and zeros to a multiple of 8
//! ```
//!
//! Numbers are little-endian. The salt is random: nothing that a client has written into an entry can pass for a record.

use std::io;
use std::ops::RangeInclusive;

use serde::Serialize;
use serde::de::DeserializeOwned;
use twox_hash::XxHash3_64;

use crate::log::{Entry, Payload};
use crate::planted::{self, Bug};
use crate::types::{GroupId, LogId, Vote};

/// The bytes before the payload.
pub(super) const HEAD: usize = 40;

/// Records begin at multiples of this.
pub(super) const ALIGN: usize = 8;

/// The version of payloads that is written.
const VERSION: u8 = 1;

/// Where the synced sequence number stands.
const SYNCED_AT: usize = 24;

const ENTRY: u8 = 1;
const MOVED: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const VOTE: u8 = 5;
const COMMITTED: u8 = 6;
const REMOVED: u8 = 7;
const SYNCED: u8 = 8;

/// What a record does to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Appends the entry that the payload holds, replacing those from its index on. The number is [`Entry::size`].
    Entry(LogId, u32),
    /// Gives an entry that is held another place.
    Moved(LogId, u32),
    /// Drops the entries after this one.
    Truncate(Option<LogId>),
    /// Drops the entries up to this one.
    Purge(LogId),
    /// Saves a vote.
    Vote(Vote),
    /// Remembers what is committed.
    Committed(Option<LogId>),
    /// Forgets the group.
    Removed,
    /// Nothing: says that all before it was synced. The next record is written over it.
    Synced,
}

impl Effect {
    fn kind(&self) -> u8 {
        match self {
            Effect::Entry(..) => ENTRY,
            Effect::Moved(..) => MOVED,
            Effect::Truncate(_) => TRUNCATE,
            Effect::Purge(_) => PURGE,
            Effect::Vote(_) => VOTE,
            Effect::Committed(_) => COMMITTED,
            Effect::Removed => REMOVED,
            Effect::Synced => SYNCED,
        }
    }

    /// The payload of everything but entries.
    pub(super) fn payload(&self) -> io::Result<Vec<u8>> {
        match self {
            Effect::Entry(id, size) | Effect::Moved(id, size) => encode(&(id, size), Vec::new()),
            Effect::Truncate(last) => encode(last, Vec::new()),
            Effect::Purge(through) => encode(through, Vec::new()),
            Effect::Vote(vote) => encode(vote, Vec::new()),
            Effect::Committed(committed) => encode(committed, Vec::new()),
            Effect::Removed | Effect::Synced => Ok(Vec::new()),
        }
    }
}

/// An entry's effect and payload.
pub(super) fn encode_entry(entry: &Entry) -> io::Result<(Effect, Vec<u8>)> {
    let size = u32::try_from(entry.size()).map_err(|_| too_large(entry.size()))?;
    let effect = Effect::Entry(entry.id, size);
    let payload = encode(&entry.payload, effect.payload()?)?;
    Ok((effect, payload))
}

/// What stands in a record's payload after its effect: an entry's content.
pub(super) fn decode_entry(record: &Record<'_>) -> Result<Entry, String> {
    let ((id, _), rest): ((LogId, u32), _) = take(record.payload)?;
    let (payload, rest): (Payload, _) = take(rest)?;
    if rest.is_empty() { Ok(Entry { id, payload }) } else { Err("bytes after the entry".into()) }
}

pub(super) fn too_large(bytes: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("an append of {bytes} bytes is too large for the log"))
}

fn encode<T: Serialize>(value: &T, after: Vec<u8>) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, after).map_err(io::Error::other)
}

fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), String> {
    postcard::take_from_bytes(bytes).map_err(|error| error.to_string())
}

fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match take(bytes)? {
        (value, []) => Ok(value),
        _ => Err("bytes after the payload".into()),
    }
}

/// How many bytes a record with such a payload takes.
pub(super) fn length(payload: usize) -> usize {
    (HEAD + payload).next_multiple_of(ALIGN)
}

/// Appends a record to `buffer`, still unsealed.
pub(super) fn push(buffer: &mut Vec<u8>, effect: &Effect, group: GroupId, sequence: u64, payload: &[u8]) {
    let end = buffer.len() + length(payload.len());
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&[effect.kind(), VERSION, 0, 0]);
    buffer.extend_from_slice(&sequence.to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&group.0.to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(end, 0);
}

/// Gives the record at the start of `buffer` its sequence number.
pub(super) fn number(buffer: &mut [u8], sequence: u64) {
    buffer[16..24].copy_from_slice(&sequence.to_le_bytes());
}

/// Seals all records of `buffer`: says what is synced now, and makes the checksums.
pub(super) fn seal(buffer: &mut [u8], synced: u64, salt: u64) {
    let mut rest = buffer;
    while rest.len() >= HEAD {
        let (record, after) = rest.split_at_mut(length(u32_at(rest, 8) as usize));
        record[SYNCED_AT..SYNCED_AT + 8].copy_from_slice(&synced.to_le_bytes());
        let checksum = XxHash3_64::oneshot_with_seed(salt, &record[8..]);
        record[..8].copy_from_slice(&checksum.to_le_bytes());
        rest = after;
    }
}

/// A record whose checksum is right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    kind: u8,
    version: u8,
    pub(super) sequence: u64,
    pub(super) synced: u64,
    pub(super) group: GroupId,
    pub(super) payload: &'a [u8],
    /// How many bytes it takes.
    pub(super) length: usize,
}

impl<'a> Record<'a> {
    /// The record at the start of `bytes`, if there is one.
    pub(super) fn parse(bytes: &'a [u8], salt: u64) -> Option<Record<'a>> {
        let record = Self::framed(bytes)?;
        let is_whole = u64_at(bytes, 0) == XxHash3_64::oneshot_with_seed(salt, &bytes[8..record.length]);
        (is_whole || planted::is(Bug::ChecksumIgnored)).then_some(record)
    }

    /// What would be the record at the start of `bytes` if its checksum were right.
    pub(super) fn framed(bytes: &'a [u8]) -> Option<Record<'a>> {
        let head = bytes.get(..HEAD)?;
        if head[12] == 0 || head[14..16] != [0, 0] {
            return None;
        }
        let payload = u32_at(head, 8) as usize;
        let record = bytes.get(..length(payload))?;
        Some(Record {
            kind: head[12],
            version: head[13],
            sequence: u64_at(head, 16),
            synced: u64_at(head, SYNCED_AT),
            group: GroupId(u64_at(head, 32)),
            payload: &record[HEAD..HEAD + payload],
            length: record.len(),
        })
    }

    /// As [`Self::parse`], if it has one of these sequence numbers. What cannot be meant is not even summed up: whatever
    /// else stands in a file, looking for records in it takes no longer than reading it a few times.
    pub(super) fn find(bytes: &'a [u8], salt: u64, sequences: &RangeInclusive<u64>) -> Option<Record<'a>> {
        let sequence = u64_at(bytes.get(..HEAD)?, 16);
        if sequences.contains(&sequence) { Self::parse(bytes, salt) } else { None }
    }

    /// Whether it says no more than what is synced.
    pub(super) fn is_marker(&self) -> bool {
        self.kind == SYNCED
    }

    /// What it does.
    ///
    /// # Errors
    /// When this version of the library does not know it.
    pub(super) fn effect(&self) -> Result<Effect, String> {
        if self.version != VERSION {
            return Err(format!("a record of version {}", self.version));
        }
        let entry = || take::<(LogId, u32)>(self.payload).map(|(entry, _)| entry);
        Ok(match self.kind {
            ENTRY => entry().map(|(id, size)| Effect::Entry(id, size))?,
            MOVED => entry().map(|(id, size)| Effect::Moved(id, size))?,
            TRUNCATE => Effect::Truncate(whole(self.payload)?),
            PURGE => Effect::Purge(whole(self.payload)?),
            VOTE => Effect::Vote(whole(self.payload)?),
            COMMITTED => Effect::Committed(whole(self.payload)?),
            REMOVED => Effect::Removed,
            SYNCED => Effect::Synced,
            kind => return Err(format!("a record of kind {kind}")),
        })
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Index, Term};

    fn sealed(effect: Effect, sequence: u64, salt: u64) -> Vec<u8> {
        let mut buffer = Vec::new();
        push(&mut buffer, &effect, GroupId(7), sequence, &effect.payload().unwrap());
        seal(&mut buffer, sequence - 1, salt);
        buffer
    }

    #[test]
    fn every_flipped_bit_of_a_record_is_noticed() {
        let bytes = sealed(Effect::Purge(LogId { term: Term(3), index: Index(300) }), 12, 5);
        assert!(Record::parse(&bytes, 5).is_some());
        assert!(Record::parse(&bytes, 6).is_none(), "a record of another segment");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::parse(&flipped, 5).is_none(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Record::parse(&bytes[..cut], 5).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn effects_read_back_as_they_were_written() {
        let id = LogId { term: Term(u64::MAX), index: Index(u64::MAX) };
        let vote = Vote { term: Term(1), node: crate::types::NodeId(2), committed: true };
        for effect in [
            Effect::Entry(id, 9),
            Effect::Moved(id, 8),
            Effect::Truncate(None),
            Effect::Truncate(Some(id)),
            Effect::Purge(id),
            Effect::Vote(vote),
            Effect::Committed(Some(id)),
            Effect::Removed,
            Effect::Synced,
        ] {
            let bytes = sealed(effect, 4, 1);
            let record = Record::parse(&bytes, 1).unwrap();
            assert_eq!((record.effect(), record.group, record.sequence, record.synced), (Ok(effect), GroupId(7), 4, 3));
        }
    }
}
