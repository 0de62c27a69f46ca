//! What waits for the committer: records, already framed, and whoever wants to know when they are on disk.

use std::io;

use tokio::sync::oneshot;

use super::record::{self, Effect};
use super::segment::Slot;
use crate::log::{Entry, Flushed};
use crate::types::GroupId;

/// Records of one group, ready but for their sequence numbers.
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) effects: Vec<(Effect, u32)>,
}

impl Frame {
    fn with_capacity(bytes: usize) -> Self {
        Frame { bytes: Vec::with_capacity(bytes), effects: Vec::new() }
    }

    /// A record of anything but an entry.
    pub(super) fn of(group: GroupId, effect: Effect) -> io::Result<Frame> {
        let mut frame = Frame::with_capacity(record::HEAD * 2);
        frame.push(group, effect, &effect.payload()?);
        Ok(frame)
    }

    /// Records of entries.
    pub(super) fn entries(group: GroupId, entries: &[Entry]) -> io::Result<Frame> {
        let about: u64 = entries.iter().map(|entry| entry.size() + 2 * record::HEAD as u64).sum();
        if about > super::options::SEGMENT_BYTES_MAX {
            return Err(record::too_large(about));
        }
        let mut frame = Frame::with_capacity(about as usize);
        for entry in entries {
            let (effect, payload) = record::encode_entry(entry)?;
            frame.push(group, effect, &payload);
        }
        Ok(frame)
    }

    /// An entry's record once more.
    pub(super) fn moved(group: GroupId, effect: Effect, payload: &[u8]) -> Frame {
        let mut frame = Frame::with_capacity(record::length(payload.len()));
        frame.push(group, effect, payload);
        frame
    }

    fn push(&mut self, group: GroupId, effect: Effect, payload: &[u8]) {
        record::push(&mut self.bytes, &effect, group, 0, payload);
        self.effects.push((effect, record::length(payload.len()) as u32));
    }
}

/// One queued record.
pub(super) struct Op {
    pub(super) group: GroupId,
    pub(super) effect: Effect,
    pub(super) sequence: u64,
    /// How many bytes it takes.
    pub(super) length: u32,
    /// Where a moved entry stood.
    pub(super) from: Option<Slot>,
}

/// Who is told when all that was queued before is on disk, or never will be.
pub(super) enum Done {
    Flushed(Flushed),
    Waiter(oneshot::Sender<io::Result<()>>),
}

impl Done {
    pub(super) fn complete(self, result: io::Result<()>) {
        match self {
            Done::Flushed(flushed) => flushed.complete(result),
            // Whoever waited may have been dropped.
            Done::Waiter(waiter) => drop(waiter.send(result)),
        }
    }
}

/// Records in the order in which they will stand in the log.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) bytes: Vec<u8>,
    pub(super) ops: Vec<Op>,
    pub(super) done: Vec<Done>,
}

impl Queue {
    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty() && self.done.is_empty()
    }
}

/// What the committer takes at once.
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) ops: Vec<Op>,
    pub(super) done: Vec<Done>,
    /// Whether it goes into a new segment.
    pub(super) rolls: bool,
}
