//! A file's bytes: as they read now, as they were last synced, and the writes in between.

use rand::Rng;
use rand::rngs::SmallRng;

use super::CrashStyle;

/// What a disk writes at once, in bytes.
const SECTOR: usize = 512;

/// Invariant: `now` is `durable` with `pending` carried out.
#[derive(Debug, Default)]
pub(super) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
    pub(super) handles: usize,
}

#[derive(Debug)]
enum Write {
    At { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

impl Write {
    fn carry_out(&self, on: &mut Vec<u8>) {
        match self {
            Write::At { offset, bytes } => put(on, *offset, bytes),
            Write::Size(size) => on.resize(*size, 0),
        }
    }
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.now.len() as u64
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.now.len());
        let count = buffer.len().min(self.now.len() - from);
        buffer[..count].copy_from_slice(&self.now[from..from + count]);
        count
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: usize) {
        if !bytes.is_empty() {
            self.change(Write::At { offset, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_size(&mut self, size: usize) {
        if size != self.now.len() {
            self.change(Write::Size(size));
        }
    }

    fn change(&mut self, write: Write) {
        write.carry_out(&mut self.now);
        self.pending.push(write);
    }

    pub(super) fn sync(&mut self) {
        for write in self.pending.drain(..) {
            write.carry_out(&mut self.durable);
        }
    }

    /// Loses some of what was not synced.
    pub(super) fn forget(&mut self, random: &mut SmallRng, style: CrashStyle) {
        let pending = std::mem::take(&mut self.pending);
        match style {
            CrashStyle::Prefix => keep_prefix(&mut self.durable, &pending, random),
            CrashStyle::Scattered => keep_scattered(&mut self.durable, &pending, random),
        }
        self.now.clone_from(&self.durable);
        self.handles = 0;
    }
}

fn keep_prefix(durable: &mut Vec<u8>, pending: &[Write], random: &mut SmallRng) {
    let kept = prefix_length(pending.len(), random);
    pending[..kept].iter().for_each(|write| write.carry_out(durable));
    let Some(Write::At { offset, bytes }) = pending.get(kept) else { return };
    let torn = prefix_length(bytes.len(), random);
    if torn > 0 {
        put(durable, *offset, &bytes[..torn]);
    }
    // A file may have grown before the bytes arrived: the rest of the sector, or all of the write, reads as zeros.
    let (at, end) = (offset + torn, offset + bytes.len());
    let zeros_to = match random.next_u64() % 3 {
        0 => at,
        1 => at.next_multiple_of(SECTOR).min(end),
        _ => end,
    };
    if zeros_to > at {
        put(durable, at, &vec![0; zeros_to - at]);
    }
}

fn keep_scattered(durable: &mut Vec<u8>, pending: &[Write], random: &mut SmallRng) {
    for write in pending {
        match write {
            Write::Size(_) if random.next_u64().is_multiple_of(2) => {}
            Write::Size(_) => write.carry_out(durable),
            Write::At { offset, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = ((offset + at + 1).next_multiple_of(SECTOR) - offset).min(bytes.len());
                    if random.next_u64().is_multiple_of(2) {
                        put(durable, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

/// How many of `length` to keep: often none or all, else any number.
pub(super) fn prefix_length(length: usize, random: &mut SmallRng) -> usize {
    let (kind, any) = (random.next_u64() % 4, random.next_u64());
    match kind {
        0 => 0,
        1 => length,
        _ => (any % (length as u64 + 1)) as usize,
    }
}

fn put(on: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if on.len() < end {
        on.resize(end, 0);
    }
    on[offset..end].copy_from_slice(bytes);
}
