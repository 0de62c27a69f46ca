//! The file that becomes the next segment: made before it is needed, so that a full disk is noticed in time.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{self, Checkpoint, SPARE, Segment};
use super::shared::Shared;
use crate::fs::{File, OpenMode};

/// The segment that is written to.
pub(super) struct Current {
    pub(super) number: u32,
    pub(super) file: Arc<dyn File>,
    pub(super) end: u64,
    pub(super) salt: u64,
}

/// Whether an operation failed for want of space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Makes the spare file as large as wanted, of a used one if there is any. One that could not be grown is as it was.
pub(super) fn allocate_spare(shared: &Shared, bytes: u64, used: &mut Vec<PathBuf>) -> io::Result<()> {
    let path = shared.dir.join(SPARE);
    let had_one = shared.state().room.spare.is_some();
    if !had_one && let Some(used) = used.pop() {
        // What is in it is no record of the segment that it becomes: that has another salt.
        shared.fs.rename(&used, &path)?;
    }
    let made = shared.fs.open(&path, OpenMode::Create).and_then(|file| file.allocate(bytes));
    if made.as_ref().is_err_and(is_full) && !had_one {
        // What was allocated of it is better used by others.
        let is_there = shared.fs.metadata(&path)?.is_some();
        if is_there {
            shared.fs.remove(&path)?;
        }
    }
    made
}

/// Makes the first spare file, smaller than wanted if the disk is nearly full.
pub(super) fn make_room(shared: &Shared) -> io::Result<()> {
    let (wanted, least) = {
        let state = shared.state();
        (state.spare_wanted(), state.spare_wanted() - state.options.segment_bytes + 2 * state.options.reserve_bytes)
    };
    let mut bytes = wanted;
    loop {
        match allocate_spare(shared, bytes, &mut Vec::new()) {
            Ok(()) => break,
            Err(error) if is_full(&error) && bytes > least => bytes = (bytes / 2).max(least),
            Err(error) => return Err(error),
        }
    }
    shared.state().room.spare = Some(bytes);
    Ok(())
}

/// Makes a segment of the spare file. Once it has its name, its header is on disk.
pub(super) fn new_segment(shared: &Shared, checkpoint: &Checkpoint, number: u32, first: u64) -> io::Result<Current> {
    let (spare, path) = (shared.dir.join(SPARE), segment::path(&shared.dir, number));
    let salt = shared.env.random();
    let header = segment::encode(number, first, salt, checkpoint)?;
    let file = shared.fs.open(&spare, OpenMode::Write)?;
    file.write_at(&header, 0)?;
    file.sync_all()?;
    drop(file);
    shared.fs.rename(&spare, &path)?;
    shared.fs.sync_dir(&shared.dir)?;
    let file: Arc<dyn File> = shared.fs.open(&path, OpenMode::Write)?.into();
    let start = header.len() as u64;
    let path: Arc<Path> = path.into();
    let segment = Segment { file: Arc::clone(&file), path, salt, start, end: start, live: 0 };
    shared.state().segments.0.insert(number, segment);
    Ok(Current { number, file, end: start, salt })
}
