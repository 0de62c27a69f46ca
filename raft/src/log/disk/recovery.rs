//! What a log's files say: all groups as they were when the last life ended.
//!
//! Promises: what was synced is found, or the file and offset are named where it cannot be read; what was being written
//! when the power failed is cut off, for good, before anything else is written.
//! How: the oldest segment's checkpoint, then all records in order. Sequence numbers follow each other without a gap, also
//! from one segment to the next; entries that a checkpoint counts must turn up in the end.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::OpenError;
use super::group::GroupState;
use super::record::{Effect, Record};
use super::segment::{self, Header, SPARE, Segment, Segments, Slot, USED};
use super::state::outlines;
use super::tail;
use crate::fs::{Damaged, File, Fs, OpenMode, read_exact_at};
use crate::planted::{self, Bug};
use crate::types::GroupId;

/// What was found.
pub(super) struct Recovered {
    pub(super) groups: BTreeMap<GroupId, GroupState>,
    pub(super) segments: Segments,
    /// The last segment's number; zero if there is none.
    pub(super) number: u32,
    pub(super) next_sequence: u64,
}

/// Reads the log in `dir`, and puts its end right.
pub(super) fn recover(fs: &dyn Fs, dir: &Path) -> Result<Recovered, OpenError> {
    let names = fs.list(dir)?;
    for name in names.iter().filter(|name| *name == SPARE || name.starts_with(USED)) {
        fs.remove(&dir.join(name))?;
    }
    let numbers: Vec<u32> = names.iter().filter_map(|name| segment::number(name)).collect();
    if let Some(gap) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        let missing = segment::path(dir, gap[0] + 1);
        return Err(Damaged::new(&missing, 0, "the segment is missing").into());
    }
    let segments = Segments::default();
    let mut replay = Replay {
        found: Recovered { groups: BTreeMap::new(), segments, number: 0, next_sequence: 1 },
        bytes: Vec::new(),
    };
    let mut next = numbers.first().map(|number| Opened::open(fs, dir, *number)).transpose()?;
    for at in 0..numbers.len() {
        let Some(opened) = next.take() else { break };
        next = numbers.get(at + 1).map(|number| Opened::open(fs, dir, *number)).transpose()?;
        replay.segment(opened, at == 0, next.as_ref().map(|next| next.header.first))?;
    }
    replay.check_entries(dir)?;
    Ok(replay.found)
}

/// A segment whose header was read.
struct Opened {
    path: PathBuf,
    file: Arc<dyn File>,
    header: Header,
}

impl Opened {
    fn open(fs: &dyn Fs, dir: &Path, number: u32) -> Result<Opened, OpenError> {
        /// Enough for the header of most logs.
        const FIRST_READ: u64 = 64 << 10;
        let path = segment::path(dir, number);
        let file: Arc<dyn File> = fs.open(&path, OpenMode::Write)?.into();
        let size = file.size()?;
        let mut bytes = Vec::new();
        read_all(&*file, &mut bytes, size.min(FIRST_READ))?;
        let header = match Header::decode(&path, number, &bytes) {
            Err(_) if size > FIRST_READ => {
                read_all(&*file, &mut bytes, size)?;
                Header::decode(&path, number, &bytes)?
            }
            header => header?,
        };
        Ok(Opened { path, file, header })
    }
}

fn read_all(file: &dyn File, bytes: &mut Vec<u8>, size: u64) -> io::Result<()> {
    bytes.resize(usize::try_from(size).map_err(io::Error::other)?, 0);
    read_exact_at(file, bytes, 0)
}

struct Replay {
    found: Recovered,
    /// The segment that is being read.
    bytes: Vec<u8>,
}

impl Replay {
    /// Carries out the records of a segment; `next` is the first sequence number of the one after it.
    fn segment(&mut self, opened: Opened, is_first: bool, next: Option<u64>) -> Result<(), OpenError> {
        let Opened { path, file, header } = opened;
        let size = file.size()?;
        read_all(&*file, &mut self.bytes, size)?;
        let bytes = std::mem::take(&mut self.bytes);
        self.begin(&path, &header, is_first)?;
        let start = header.length as u64;
        let held = Segment {
            file: Arc::clone(&file),
            path: path.as_path().into(),
            salt: header.salt,
            start,
            end: start,
            live: 0,
        };
        self.found.segments.0.insert(header.number, held);
        self.found.number = header.number;

        let mut at = header.length;
        // Records that no later one says were synced.
        let mut doubtful: VecDeque<(u64, usize)> = VecDeque::new();
        while Some(self.found.next_sequence) != next {
            let expected = self.found.next_sequence;
            let parse = |rest| match planted::is(Bug::TornTailRead) && next.is_none() {
                true => Record::framed(rest),
                false => Record::parse(rest, header.salt),
            };
            let record = bytes.get(at..).and_then(parse);
            let Some(record) = record.filter(|record| record.sequence == expected && !record.is_marker()) else {
                if next.is_some() {
                    return Err(Damaged::new(&path, at as u64, "a record is missing that was synced").into());
                }
                let from = tail::cut(&path, &bytes, at, header.salt, expected, &mut doubtful)?;
                tail::repair(&*file, &bytes[..at], from)?;
                break;
            };
            doubtful.push_back((expected, at));
            tail::settle(&mut doubtful, record.synced);
            self.record(&record, header.number, at).map_err(|what| Damaged::new(&path, at as u64, what))?;
            at += record.length;
        }
        if let Some(segment) = self.found.segments.0.get_mut(&header.number) {
            segment.end = at as u64;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Takes the first segment's checkpoint; checks that a later one's says what the records before it say.
    fn begin(&mut self, path: &Path, header: &Header, is_first: bool) -> Result<(), OpenError> {
        let found = &mut self.found;
        if is_first {
            let group = |(group, outline): (&GroupId, &super::outline::Outline)| {
                (*group, GroupState::outlined(outline.clone()))
            };
            found.groups = header.checkpoint.iter().map(group).collect();
            found.next_sequence = header.first;
        } else if found.next_sequence != header.first || outlines(&found.groups) != header.checkpoint {
            return Err(Damaged::new(path, 0, "the header does not follow from the segment before").into());
        }
        Ok(())
    }

    fn record(&mut self, record: &Record<'_>, segment: u32, at: usize) -> Result<(), String> {
        let found = &mut self.found;
        let effect = record.effect()?;
        found.next_sequence += 1;
        if effect == Effect::Removed {
            if let Some(mut group) = found.groups.remove(&record.group) {
                group.clear(&mut found.segments);
            }
            return Ok(());
        }
        let group = found.groups.entry(record.group).or_default();
        let slot = |id: crate::types::LogId, size| Slot {
            term: id.term.0,
            segment,
            offset: at as u32,
            length: record.length as u32,
            size,
        };
        let effect = match effect {
            Effect::Truncate(_) if planted::is(Bug::TruncateForgotten) => return Ok(()),
            Effect::Entry(id, size) if planted::is(Bug::TruncateForgotten) && group.slot(id.index.0).is_some() => {
                Effect::Moved(id, size)
            }
            effect => effect,
        };
        let slot = match effect {
            Effect::Entry(id, _) if !group.outline.accepts(id.index.0) => {
                return Err(format!("{id} of {} does not follow the entries before", record.group));
            }
            Effect::Entry(id, size) | Effect::Moved(id, size) => slot(id, size),
            _ => slot(crate::types::LogId::default(), 0),
        };
        group.apply(&effect, slot, &mut found.segments);
        Ok(())
    }

    /// That every entry was found which should be there.
    fn check_entries(&self, dir: &Path) -> Result<(), OpenError> {
        for (group, state) in &self.found.groups {
            if let Some(index) = state.missing() {
                let first = self.found.segments.0.keys().next().map_or(0, |number| number.saturating_sub(1));
                let what = format!("entry {index} of {group} is in no segment: one that held it is gone");
                return Err(Damaged::new(&segment::path(dir, first), 0, what).into());
            }
        }
        Ok(())
    }
}
