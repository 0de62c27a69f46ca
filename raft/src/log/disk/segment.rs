//! A segment: a file of records behind a header that makes the segments before it unnecessary, but for live entries.
//!
//! ```text
//!  0  [u8; 8]  "QUORATE" and a zero
//!  8  u32      version of the format
//! 12  u32      length of the checkpoint
//! 16  u64      number of the segment
//! 24  u64      sequence number of the first record
//! 32  u64      salt of the checksums
//! 40           checkpoint: all groups without their entries, as they were before the first record;
//!              zeros to a multiple of 8
//!     u64      XXH3 of all that stands before it
//! ```
//!
//! The records follow. Numbers are little-endian.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::error::OpenError;
use super::outline::Outline;
use super::record::{ALIGN, HEAD, u32_at, u64_at};
use crate::fs::{Damaged, File};
use crate::types::GroupId;

/// All groups without their entries.
pub(super) type Checkpoint = BTreeMap<GroupId, Outline>;

const MAGIC: &[u8; 8] = b"QUORATE\0";

/// The version of the format that is written, and the only one that is read.
const VERSION: u32 = 1;

const FIXED: usize = 40;
const SUM: usize = 8;

/// The name of the file that is to become the next segment.
pub(super) const SPARE: &str = "spare";

/// What the names of files begin with that were segments, and may become segments again.
pub(super) const USED: &str = "used-";

/// A segment's path.
pub(super) fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:010}.log"))
}

/// The number of the segment that has this name.
pub(super) fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 10).then(|| digits.parse().ok()).flatten()
}

/// The most bytes that the header takes when there are so many groups.
pub(super) fn header_bound(groups: usize) -> u64 {
    (FIXED + SUM + ALIGN + 10) as u64 + groups as u64 * Outline::BYTES_MAX
}

/// What a segment begins with.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) number: u32,
    pub(super) first: u64,
    pub(super) salt: u64,
    pub(super) checkpoint: Checkpoint,
    /// Where the records begin.
    pub(super) length: usize,
}

/// A header's bytes.
pub(super) fn encode(number: u32, first: u64, salt: u64, checkpoint: &Checkpoint) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&u64::from(number).to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    bytes.extend_from_slice(&salt.to_le_bytes());
    let mut bytes = postcard::to_extend(checkpoint, bytes).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len() - FIXED).map_err(io::Error::other)?;
    bytes[12..16].copy_from_slice(&length.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    let sum = XxHash3_64::oneshot(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

impl Header {
    /// Reads the header of segment `number` from the beginning of its file's bytes.
    pub(super) fn decode(path: &Path, number: u32, bytes: &[u8]) -> Result<Header, OpenError> {
        let damaged = |what: &str| OpenError::from(Damaged::new(path, 0, what));
        let fixed = bytes.get(..FIXED).ok_or_else(|| damaged("the header is cut off"))?;
        if fixed[..8] != *MAGIC {
            return Err(damaged("this is no segment of a log"));
        }
        let found = u32_at(fixed, 8);
        let summed = (FIXED + u32_at(fixed, 12) as usize).next_multiple_of(ALIGN);
        let sum = bytes.get(summed..summed + SUM).map(|sum| u64_at(sum, 0));
        let is_whole = sum.is_some_and(|sum| sum == XxHash3_64::oneshot(&bytes[..summed]));
        // A later version may have its checksum elsewhere; but a flipped bit is no later version.
        if found != VERSION && (is_whole || found.count_ones() > 0 && (found ^ VERSION).count_ones() > 1) {
            return Err(OpenError::Version { path: path.to_owned(), found });
        }
        if !is_whole {
            return Err(damaged("the header's checksum is wrong"));
        }
        if u64_at(fixed, 16) != u64::from(number) {
            return Err(damaged("the file has the name of another segment"));
        }
        let checkpoint = &bytes[FIXED..FIXED + u32_at(fixed, 12) as usize];
        let checkpoint = postcard::from_bytes(checkpoint).map_err(|error| damaged(&error.to_string()))?;
        Ok(Header { number, first: u64_at(fixed, 24), salt: u64_at(fixed, 32), checkpoint, length: summed + SUM })
    }
}

/// A segment that is there.
pub(super) struct Segment {
    pub(super) file: Arc<dyn File>,
    pub(super) path: Arc<Path>,
    pub(super) salt: u64,
    /// Where its records begin.
    pub(super) start: u64,
    /// Where they end: in the last segment, as far as is written.
    pub(super) end: u64,
    /// How many bytes of them are live entries.
    pub(super) live: u64,
}

/// Where a live entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) term: u64,
    /// The segment; zero where the entry is not on disk yet.
    pub(super) segment: u32,
    /// Where in the segment; before it is written, the low half of its sequence number.
    pub(super) offset: u32,
    /// How many bytes its record takes.
    pub(super) length: u32,
    /// [`crate::log::Entry::size`].
    pub(super) size: u32,
}

/// The segments by number, the last of them the one that is written to.
#[derive(Default)]
pub(super) struct Segments(pub(super) BTreeMap<u32, Segment>);

impl Segments {
    /// An entry has come to stand there.
    pub(super) fn hold(&mut self, slot: &Slot) {
        if let Some(segment) = self.0.get_mut(&slot.segment) {
            segment.live += u64::from(slot.length);
        }
    }

    /// An entry that stood there is not wanted any more.
    pub(super) fn release(&mut self, slot: &Slot) {
        if let Some(segment) = self.0.get_mut(&slot.segment) {
            segment.live -= u64::from(slot.length);
        }
    }

    /// The first segments as long as nothing in them is live, but never the last one.
    pub(super) fn dead(&self) -> Vec<u32> {
        let sealed = self.0.len().saturating_sub(1);
        self.0.iter().take(sealed).take_while(|(_, segment)| segment.live == 0).map(|(number, _)| *number).collect()
    }

    /// The bytes of all files, as far as they hold anything, and those of live entries in them.
    pub(super) fn bytes(&self) -> (u64, u64) {
        self.0.values().fold((0, 0), |(all, live), segment| (all + segment.end, live + segment.live))
    }
}

/// How many bytes the smallest record takes.
pub(super) const RECORD_MIN: u64 = HEAD as u64;
