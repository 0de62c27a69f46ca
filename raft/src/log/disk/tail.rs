//! The end of the last segment: torn, or damaged?
//!
//! A write that was cut off by a power failure may leave any part of itself: pages reach a disk in no order. So a record
//! that cannot be read, with valid ones behind it, proves nothing by itself. What decides is what those behind it say: each
//! record carries the sequence number that had been *synced* when it was written. If one says that the unreadable record
//! had been, then the disk has lost what it had confirmed: that is damage, and an error. If none does, nobody was told that
//! the unreadable record is durable, nor any record behind it: it is a torn write and is cut off, and they with it.
//!
//! The last batch has no records behind it that say so. Therefore the committer leaves a marker behind it when nothing else
//! is to be written. The marker is not synced itself: a power failure may take it, but not the damage of a file at rest.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::record::{ALIGN, HEAD, Record};
use crate::fs::{Damaged, File};

/// Takes records off the list that are known to have been synced.
pub(super) fn settle(doubtful: &mut VecDeque<(u64, usize)>, synced: u64) {
    while doubtful.front().is_some_and(|(sequence, _)| *sequence <= synced) {
        doubtful.pop_front();
    }
}

/// Says that the log ends at `at`, where the record numbered `expected` cannot be read; gives from where on the records
/// before it are not known to have been synced.
///
/// # Errors
/// When the record had been synced.
pub(super) fn cut(
    path: &Path,
    bytes: &[u8],
    at: usize,
    salt: u64,
    expected: u64,
    doubtful: &mut VecDeque<(u64, usize)>,
) -> Result<usize, Damaged> {
    // No more than fit into the rest of the file.
    let sequences = expected..=expected + (bytes.len() / HEAD) as u64;
    let mut next = at;
    while let Some(rest) = bytes.get(next..)
        && !rest.is_empty()
    {
        let Some(record) = Record::find(rest, salt, &sequences) else {
            next += ALIGN;
            continue;
        };
        if record.synced >= expected {
            let what = format!("record {expected} had been synced and cannot be read");
            return Err(Damaged::new(path, at as u64, what));
        }
        settle(doubtful, record.synced);
        next += record.length;
    }
    Ok(doubtful.front().map_or(at, |(_, from)| *from))
}

/// Makes `whole` all that the file holds, for certain: what follows is cut off, so that nothing of it can ever be taken for
/// a record, and what is not known to have been synced is written again. (If the life before ended by a failed sync, the
/// system may show bytes that are not on the disk, and count them as clean.)
pub(super) fn repair(file: &dyn File, whole: &[u8], from: usize) -> io::Result<()> {
    if from < whole.len() {
        file.write_at(&whole[from..], from as u64)?;
    }
    file.set_size(whole.len() as u64)?;
    file.sync_all()
}
