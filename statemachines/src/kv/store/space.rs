//! A group's part of the database.
//!
//! Promises: only the machine that was opened last writes to it; a failure to read or write is remembered, and then nothing
//! is written any more.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fjall::Readable;
use quorate::GroupId;

use super::database::{Batch, Inner};
use super::layout::{self, CopyId, Part};
use super::merged::json;
use crate::kv::value::Json;

/// The database as it was at one moment.
pub(in crate::kv) type Image = Arc<fjall::Snapshot>;

/// The first failure of a group's store, for all who read from it.
#[derive(Clone, Debug, Default)]
pub(in crate::kv) struct Fault(Arc<OnceLock<String>>);

impl Fault {
    pub(in crate::kv) fn set(&self, error: impl Into<String>) {
        // Only the first counts.
        let _ = self.0.set(error.into());
    }

    pub(in crate::kv) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    pub(in crate::kv) fn get(&self) -> Option<String> {
        self.0.get().cloned()
    }

    pub(in crate::kv) fn check(&self) -> io::Result<()> {
        self.get().map_or(Ok(()), |fault| Err(io::Error::other(fault)))
    }
}

/// What all machines share that are opened on one group, one after the other.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Which machine may write: the last one.
    epoch: u64,
    /// No copy has had this number, nor any above.
    next_copy: u64,
    /// The copies of which something may be in the database.
    stored: BTreeSet<CopyId>,
}

/// One machine's way to its group's part.
pub(in crate::kv) struct Space {
    pub(in crate::kv) database: Arc<Inner>,
    pub(in crate::kv) group: GroupId,
    pub(in crate::kv) fault: Fault,
    slot: Arc<Mutex<Slot>>,
    epoch: u64,
}

impl fmt::Debug for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Space").field("group", &self.group).field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Space {
    /// Takes the group's part over: a machine that had it can write no more.
    pub(in crate::kv) fn take(database: &Arc<Inner>, group: GroupId) -> io::Result<Arc<Space>> {
        let slot = database.slot(group);
        let mut held = lock(&slot);
        held.epoch += 1;
        held.stored = database.copies(group)?;
        let highest = held.stored.last().map_or(0, |copy| copy.0);
        held.next_copy = held.next_copy.max(highest + 1);
        let epoch = held.epoch;
        drop(held);
        Ok(Arc::new(Space { database: Arc::clone(database), group, fault: Fault::default(), slot, epoch }))
    }

    pub(super) fn next_copy(&self) -> CopyId {
        let mut slot = lock(&self.slot);
        slot.next_copy += 1;
        CopyId(slot.next_copy - 1)
    }

    pub(super) fn get(&self, image: &Image, copy: CopyId, key: &str) -> Option<Json> {
        let found = image.get(&self.database.keyspace, layout::named(self.group, copy, Part::Keys, key.as_bytes()));
        let found = found.map_err(|error| error.to_string());
        match found.and_then(|found| found.map(|value| json(&value)).transpose()) {
            Ok(value) => value,
            Err(error) => {
                self.fault.set(error);
                None
            }
        }
    }

    /// The keys of a copy from `start` on.
    pub(super) fn range(&self, image: &Image, copy: CopyId, start: Bound<&str>) -> fjall::Iter {
        let end = Bound::Excluded(layout::part_end(self.group, copy, Part::Keys));
        let named = |name: &str| {
            let mut key = layout::part(self.group, copy, Part::Keys);
            key.extend_from_slice(name.as_bytes());
            key
        };
        let start = match start {
            // A start too long for the database's keys: what follows its first bytes and is longer is not there.
            Bound::Included(name) | Bound::Excluded(name) if name.len() > layout::NAME_BYTES_MAX => {
                Bound::Excluded(named(&name[..name.floor_char_boundary(layout::NAME_BYTES_MAX)]))
            }
            start => match start.map(named) {
                Bound::Unbounded => Bound::Included(named("")),
                start => start,
            },
        };
        image.range(&self.database.keyspace, (start, end))
    }

    /// All records of a part, from whatever is in the database now.
    pub(in crate::kv) fn records(&self, image: &Image, copy: CopyId, of: Part) -> fjall::Iter {
        let range = layout::part(self.group, copy, of)..layout::part_end(self.group, copy, of);
        image.range(&self.database.keyspace, range)
    }

    /// The head of the group, if it was ever persisted.
    pub(in crate::kv) fn head(&self, image: &Image) -> io::Result<Option<fjall::Slice>> {
        image.get(&self.database.keyspace, layout::head(self.group)).map_err(super::database::failed)
    }

    /// Writes a batch that nothing refers to yet.
    pub(super) fn spill(&self, fill: impl FnOnce(&mut Batch)) -> io::Result<Image> {
        self.commit(false, fill).map(|(image, _)| image)
    }

    /// Writes the batch that makes `live` the copies of the group, syncs it, and has all other copies swept.
    pub(in crate::kv) fn switch(
        &self,
        head: Vec<u8>,
        live: &BTreeSet<CopyId>,
        fill: impl FnOnce(&mut Batch),
    ) -> io::Result<Image> {
        let (image, mut slot) = self.commit(true, |batch| {
            fill(batch);
            batch.put_head(head);
        })?;
        let given_up: Vec<_> = slot.stored.difference(live).copied().collect();
        slot.stored = live.clone();
        drop(slot);
        given_up.into_iter().for_each(|copy| self.database.sweep(self.group, copy));
        Ok(image)
    }

    /// Removes all that the group has.
    pub(super) fn forget(&self) -> io::Result<()> {
        drop(self.commit(true, Batch::remove_head)?);
        self.sweep_leftovers(&BTreeSet::new());
        Ok(())
    }

    /// Has all copies swept that are stored and not `live`: what an earlier life left unfinished.
    pub(in crate::kv) fn sweep_leftovers(&self, live: &BTreeSet<CopyId>) {
        let left: Vec<_> = lock(&self.slot).stored.extract_if(.., |copy| !live.contains(copy)).collect();
        left.into_iter().for_each(|copy| self.database.sweep(self.group, copy));
    }

    fn commit(&self, sync: bool, fill: impl FnOnce(&mut Batch)) -> io::Result<(Image, MutexGuard<'_, Slot>)> {
        self.fault.check()?;
        let mut slot = lock(&self.slot);
        if slot.epoch != self.epoch {
            return Err(io::Error::other(format!(
                "{} was opened anew: this machine is of an earlier life",
                self.group
            )));
        }
        let mut batch = self.database.batch(self.group);
        fill(&mut batch);
        slot.stored.append(&mut batch.touched);
        match self.database.commit(batch, sync) {
            Ok(image) => Ok((image, slot)),
            Err(error) => {
                self.fault.set(error.to_string());
                Err(error)
            }
        }
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
