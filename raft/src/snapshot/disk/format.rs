//! The bytes of a snapshot's file.
//!
//! ```text
//!  0  [u8; 8]  "QUOSNAP" and a zero
//!  8  u32      version of the format
//! 12  u32      zero
//! 16  u64      group
//! 24  u64      salt of the checksums
//! 32           chunks, each: u32 length, u64 XXH3 of the content, seeded with the salt and the chunk's number; content
//!              trailer: what the snapshot stands for, how many bytes, and the XXH3 of all content
//!     u32      length of the trailer
//!     u64      XXH3 of the first 32 bytes, the trailer and its length
//! ```
//!
//! Numbers are little-endian. A file that has no trailer yet has another name.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::fs::{Damaged, File, read_exact_at};
use crate::snapshot::SnapshotMeta;
use crate::types::GroupId;

const MAGIC: &[u8; 8] = b"QUOSNAP\0";

const VERSION: u32 = 1;

pub(super) const HEADER: usize = 32;

/// What stands before a chunk's content.
pub(super) const CHUNK_HEAD: usize = 12;

/// How much content a chunk has; the last one has less.
pub(super) const CHUNK: usize = 256 << 10;

const END: usize = 12;

/// What a snapshot's file ends with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trailer {
    pub(super) meta: SnapshotMeta,
    pub(super) bytes: u64,
    pub(super) sum: u64,
}

pub(super) fn header(group: GroupId, salt: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&group.0.to_le_bytes());
    header[24..].copy_from_slice(&salt.to_le_bytes());
    header
}

pub(super) fn chunk_sum(salt: u64, number: u64, content: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(salt ^ number, content)
}

/// The bytes of a trailer, with all that comes after it.
pub(super) fn encode_trailer(header: &[u8; HEADER], trailer: &Trailer) -> io::Result<Vec<u8>> {
    let mut bytes = postcard::to_stdvec(trailer).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    bytes.extend_from_slice(&length.to_le_bytes());
    let sum = end_sum(header, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

/// Of the header and of the trailer with its length.
fn end_sum(header: &[u8], trailer: &[u8]) -> u64 {
    XxHash3_64::oneshot(&[header, trailer].concat())
}

/// Reads the two ends of a file: its header's salt, where its chunks end, and its trailer.
pub(super) fn read_ends(file: &dyn File, path: &Path, group: GroupId) -> io::Result<([u8; HEADER], u64, Trailer)> {
    let size = file.size()?;
    let damaged = |offset: u64, what: &str| io::Error::from(Damaged::new(path, offset, what));
    if size < (HEADER + END) as u64 {
        return Err(damaged(0, "the file is cut off"));
    }
    let mut head = [0; HEADER];
    read_exact_at(file, &mut head, 0)?;
    let mut end = [0; END];
    read_exact_at(file, &mut end, size - END as u64)?;
    let length = u64::from(u32::from_le_bytes([end[0], end[1], end[2], end[3]]));
    let begins = (size - END as u64).checked_sub(length).filter(|begins| *begins >= HEADER as u64);
    let begins = begins.ok_or_else(|| damaged(size - END as u64, "the trailer's length is wrong"))?;
    let mut trailer = vec![0; (size - begins) as usize];
    read_exact_at(file, &mut trailer, begins)?;
    let (trailer, sum) = trailer.split_at(trailer.len() - 8);
    let is_whole = end_sum(&head, trailer).to_le_bytes() == *sum;
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if is_whole && version != VERSION {
        let text = format!("{}: format version {version} is not known here", path.display());
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    if !is_whole || head[..8] != *MAGIC || head[16..24] != group.0.to_le_bytes() {
        return Err(damaged(begins, "header and trailer are not those of a snapshot of this group"));
    }
    let trailer = postcard::from_bytes(&trailer[..trailer.len() - 4]);
    Ok((head, begins, trailer.map_err(|error| damaged(begins, &error.to_string()))?))
}
