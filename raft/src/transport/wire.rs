//! Messages as bytes, for adapters that cross a process.
//!
//! A record is a version, a kind, a checksum of all the rest, and the message in postcard:
//!
//! ```text
//! byte 0     version, 1
//! byte 1     kind: 1 envelope, 2 answer
//! bytes 2-5  CRC-32 (IEEE), little endian, of bytes 0 and 1 and of all from byte 6 on
//! bytes 6-   the message in postcard
//! ```
//!
//! Promises: what is decoded is what was encoded, or an error says what is wrong with it; no input makes decoding panic
//! or take more memory than a small multiple of the input.
//! Leaves out: where a record ends, which its carrier knows; and whether its sender may be believed.

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, Envelope};

/// The only version of the encoding so far.
pub const VERSION: u8 = 1;

/// Bytes before the message.
const HEADER: usize = 6;

/// What a record can hold.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request on its way.
    Envelope(Envelope),
    /// An answer on its way back.
    Answer(Answer),
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It ends before its message begins.
    #[error("a record of {0} bytes")]
    TooShort(usize),
    /// It is larger than the reader takes.
    #[error("a record of {bytes} bytes; at most {limit} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest size that is taken.
        limit: usize,
    },
    /// A version that this node does not read.
    #[error("a record of version {0}; this node reads {VERSION}")]
    UnknownVersion(u8),
    /// It was damaged on its way, or is no record at all.
    #[error("a damaged record: its checksum is {found:08x} instead of {computed:08x}")]
    Damaged {
        /// The checksum in the record.
        found: u32,
        /// The checksum of what the record holds.
        computed: u32,
    },
    /// Whole, but neither an envelope nor an answer.
    #[error("a record of kind {0}")]
    UnknownKind(u8),
    /// Whole, but not what its sender and this node agree on: another library's message, or a newer one's.
    #[error("a record that cannot be read: {0}")]
    Malformed(String),
}

/// An envelope as a record.
pub fn encode_envelope(envelope: &Envelope) -> Bytes {
    record(Kind::Envelope, envelope)
}

/// An answer as a record.
pub fn encode_answer(answer: &Answer) -> Bytes {
    record(Kind::Answer, answer)
}

/// The message of a record of at most `limit` bytes.
///
/// # Errors
/// [`WireError`] says what is wrong with the record; nothing of it may be used.
pub fn decode(record: &[u8], limit: usize) -> Result<Message, WireError> {
    if record.len() > limit {
        return Err(WireError::TooLarge { bytes: record.len(), limit });
    }
    let Some((header, body)) = record.split_first_chunk::<HEADER>() else {
        return Err(WireError::TooShort(record.len()));
    };
    let [version, kind, checksum @ ..] = *header;
    // Before the checksum: another version may compute it otherwise.
    if version != VERSION {
        return Err(WireError::UnknownVersion(version));
    }
    let (found, computed) = (u32::from_le_bytes(checksum), checksum_of(version, kind, body));
    if found != computed {
        return Err(WireError::Damaged { found, computed });
    }
    match Kind::of(kind)? {
        Kind::Envelope => Ok(Message::Envelope(value(body)?)),
        Kind::Answer => Ok(Message::Answer(value(body)?)),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Envelope = 1,
    Answer = 2,
}

impl Kind {
    fn of(byte: u8) -> Result<Kind, WireError> {
        match byte {
            1 => Ok(Kind::Envelope),
            2 => Ok(Kind::Answer),
            other => Err(WireError::UnknownKind(other)),
        }
    }
}

fn record(kind: Kind, message: &impl Serialize) -> Bytes {
    let start = vec![VERSION, kind as u8, 0, 0, 0, 0];
    let mut bytes = match postcard::to_extend(message, start) {
        Ok(bytes) => bytes,
        Err(error) => panic!("a message's Serialize failed: {error}"),
    };
    let checksum = checksum_of(VERSION, kind as u8, &bytes[HEADER..]);
    bytes[2..HEADER].copy_from_slice(&checksum.to_le_bytes());
    bytes.into()
}

fn checksum_of(version: u8, kind: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[version, kind]);
    hasher.update(body);
    hasher.finalize()
}

fn value<T: DeserializeOwned>(body: &[u8]) -> Result<T, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(WireError::Malformed(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(WireError::Malformed(error.to_string())),
    }
}
