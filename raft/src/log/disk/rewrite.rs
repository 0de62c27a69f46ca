//! Garbage: the oldest segment is given up by writing what is live in it once more, when the log has grown too large for
//! what it holds.
//!
//! Promises: the log takes no more than its bound (see [`super::DiskLogOptions`]) once the rewriting has caught up; with a
//! factor of two, no more is rewritten than was appended. Nothing is deleted here: a segment that has nothing live is
//! deleted by the committer once the copies are on disk.
//! How: a segment is read from its beginning, some bytes at a time; a record that the index points to is live.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::queue::Frame;
use super::record::{self, Effect, Record};
use super::segment::Slot;
use super::shared::Shared;
use crate::fs::{Damaged, File, read_exact_at};
use crate::types::GroupId;

/// How far the oldest segment has been looked through.
#[derive(Default)]
pub(super) struct Rewriter {
    number: u32,
    offset: u64,
}

/// The oldest segment, if it is to be given up.
struct Oldest {
    file: Arc<dyn File>,
    path: Arc<Path>,
    salt: u64,
    end: u64,
    bytes: u64,
}

impl Rewriter {
    /// Looks through some more of the oldest segment, and queues what is live. Whether it got any further.
    pub(super) fn step(&mut self, shared: &Shared) -> io::Result<bool> {
        let Some(oldest) = self.oldest(shared) else { return Ok(false) };
        if self.offset >= oldest.end {
            return Ok(false);
        }
        let bytes = self.read(&oldest)?;
        let mut at = 0;
        while let Some(record) = Record::parse(&bytes[at..], oldest.salt) {
            let effect = record.effect().map_err(|what| self.damaged(&oldest, &what))?;
            if let Effect::Entry(id, size) | Effect::Moved(id, size) = effect {
                let offset = (self.offset + at as u64) as u32;
                let from = Slot { term: id.term.0, segment: self.number, offset, length: 0, size };
                let frame = Frame::moved(record.group, Effect::Moved(id, size), record.payload);
                if !Self::queue(shared, record.group, &frame, from) {
                    break;
                }
            }
            at += record.length;
        }
        self.offset += at as u64;
        Ok(at > 0)
    }

    fn queue(shared: &Shared, group: GroupId, frame: &Frame, from: Slot) -> bool {
        let mut state = shared.state();
        state.closing || state.rewrite(group, frame, from)
    }

    /// The oldest segment, if the log is too large; begins at its beginning if it is another than before.
    fn oldest(&mut self, shared: &Shared) -> Option<Oldest> {
        let state = shared.state();
        let options = &state.options;
        let (all, live) = state.segments.bytes();
        let count = state.segments.0.len() as u64;
        let is_large = all > options.garbage_factor * live + options.garbage_segments * options.segment_bytes;
        let are_many = count > 64 + options.garbage_factor * all / options.segment_bytes;
        if !is_large && !are_many || count < 2 || state.closing {
            return None;
        }
        let (number, segment) = state.segments.0.first_key_value()?;
        if *number != self.number {
            (self.number, self.offset) = (*number, segment.start);
        }
        let (file, path) = (Arc::clone(&segment.file), Arc::clone(&segment.path));
        Some(Oldest { file, path, salt: segment.salt, end: segment.end, bytes: options.rewrite_bytes })
    }

    /// Some bytes from where it stands: at least one record.
    fn read(&self, oldest: &Oldest) -> io::Result<Vec<u8>> {
        let left = oldest.end - self.offset;
        let mut bytes = vec![0; left.min(oldest.bytes) as usize];
        read_exact_at(&*oldest.file, &mut bytes, self.offset)?;
        let first =
            bytes.get(8..12).map_or(u64::MAX, |length| record::length(record::u32_at(length, 0) as usize) as u64);
        if first > left {
            return Err(self.damaged(oldest, "there should be a record"));
        }
        if first > bytes.len() as u64 {
            bytes.resize(first as usize, 0);
            read_exact_at(&*oldest.file, &mut bytes, self.offset)?;
        }
        match Record::parse(&bytes, oldest.salt) {
            Some(_) => Ok(bytes),
            None => Err(self.damaged(oldest, "there should be a record")),
        }
    }

    fn damaged(&self, oldest: &Oldest, what: &str) -> io::Error {
        Damaged::new(&oldest.path, self.offset, what).into()
    }
}
