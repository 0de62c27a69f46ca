//! The keys of one copy of a shard, most of them in the database.
//!
//! Three layers: changes not yet set aside, changes that are being persisted, and the database as it was after the last
//! batch. So a flush writes while reads and changes go on, and a clone of all three is a point in time.

use std::fmt;
use std::mem;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::layout::{CopyId, NAME_BYTES_MAX, Part};
use super::merged::{Cursor, DiskIter};
use super::space::{Image, Space};
use crate::kv::contents::size;
use crate::kv::value::Json;

/// What a change takes in memory besides its key and value, about.
const CHANGE_BYTES: usize = 96;

/// Changed keys; `None` for one that is removed.
#[derive(Clone, Default)]
pub(in crate::kv) struct Changes {
    pub(in crate::kv) keys: OrdMap<Arc<str>, Option<Json>>,
    pub(in crate::kv) bytes: usize,
}

impl Changes {
    fn set(&mut self, key: Arc<str>, value: Option<Json>) {
        self.bytes += cost(&key, value.as_ref());
        if let Some(old) = self.keys.insert(Arc::clone(&key), value) {
            self.bytes -= cost(&key, old.as_ref());
        }
    }
}

fn cost(key: &str, value: Option<&Json>) -> usize {
    CHANGE_BYTES + value.map_or(key.len(), |value| size(key, value))
}

/// Invariants: `len` counts the keys that a look through all layers finds; a key longer than [`NAME_BYTES_MAX`] is in `long`
/// and nowhere else; without a `base` the database holds no key of this copy.
#[derive(Clone)]
pub(in crate::kv) struct DiskKeys {
    space: Arc<Space>,
    pub(in crate::kv) copy: CopyId,
    len: usize,
    recent: Changes,
    flushing: Changes,
    base: Option<Image>,
    /// Keys too long for the database's order: always in memory, persisted like sessions.
    pub(in crate::kv) long: OrdMap<Arc<str>, Json>,
}

impl fmt::Debug for DiskKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskKeys").field("copy", &self.copy).field("len", &self.len).finish_non_exhaustive()
    }
}

impl DiskKeys {
    /// An empty copy, of a number of its own.
    pub(in crate::kv) fn new(space: &Arc<Space>) -> Self {
        DiskKeys {
            copy: space.next_copy(),
            space: Arc::clone(space),
            len: 0,
            recent: Changes::default(),
            flushing: Changes::default(),
            base: None,
            long: OrdMap::new(),
        }
    }

    /// The copy as it was persisted.
    pub(in crate::kv) fn found(
        space: &Arc<Space>,
        copy: CopyId,
        len: usize,
        long: OrdMap<Arc<str>, Json>,
        base: &Image,
    ) -> Self {
        DiskKeys {
            space: Arc::clone(space),
            copy,
            len,
            recent: Changes::default(),
            flushing: Changes::default(),
            base: Some(Arc::clone(base)),
            long,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, key: &str) -> Option<Json> {
        if key.len() > NAME_BYTES_MAX {
            return self.long.get(key).cloned();
        }
        let changed = self.recent.keys.get(key).or_else(|| self.flushing.keys.get(key));
        match (changed, &self.base) {
            (Some(changed), _) => changed.clone(),
            (None, Some(base)) => self.space.get(base, self.copy, key),
            (None, None) => None,
        }
    }

    pub(super) fn insert(&mut self, key: Arc<str>, value: Json) -> Option<Json> {
        let old = if key.len() > NAME_BYTES_MAX {
            self.long.insert(key, value)
        } else {
            let old = self.get(&key);
            self.recent.set(key, Some(value));
            old
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// Adds a key that comes after all that are here, which need not be looked up.
    pub(in crate::kv) fn append(&mut self, key: Arc<str>, value: Json) {
        if key.len() > NAME_BYTES_MAX {
            self.long.insert(key, value);
        } else {
            self.recent.set(key, Some(value));
        }
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Json> {
        let old = match self.long.remove(key) {
            Some(old) => old,
            None => {
                let old = self.get(key)?;
                self.recent.set(key.into(), None);
                old
            }
        };
        self.len -= 1;
        Some(old)
    }

    pub(super) fn range(&self, start: Bound<&str>) -> DiskIter {
        let cursor = |changes: &Changes| Cursor::new(changes.keys.clone(), start);
        let base = self.base.as_ref().map(|base| self.space.range(base, self.copy, start));
        let long = Cursor::new(self.long.clone(), start);
        DiskIter::new(cursor(&self.recent), cursor(&self.flushing), long, base, start, self.space.fault.clone())
    }

    /// The memory that changes take which are not persisted.
    pub(in crate::kv) fn unpersisted_bytes(&self) -> usize {
        self.recent.bytes + self.flushing.bytes
    }

    /// Sets the recent changes aside.
    pub(in crate::kv) fn freeze(&mut self) {
        assert!(self.flushing.keys.is_empty(), "a flush of {:?} begins before the last one is settled", self.copy);
        self.flushing = mem::take(&mut self.recent);
    }

    /// What was set aside.
    pub(in crate::kv) fn frozen(&self) -> &Changes {
        &self.flushing
    }

    /// What was set aside is in the database, which is now as `base` has it. Gives what is no longer needed.
    pub(in crate::kv) fn settle(&mut self, base: &Image) -> Changes {
        self.base = Some(Arc::clone(base));
        mem::take(&mut self.flushing)
    }

    /// Writes the changes of a copy that nothing refers to yet, without syncing them.
    pub(in crate::kv) fn spill(&mut self) -> std::io::Result<()> {
        if !self.recent.keys.is_empty() {
            let changes = mem::take(&mut self.recent);
            let base = self.space.spill(|batch| {
                for (key, value) in &changes.keys {
                    batch.change(
                        self.copy,
                        Part::Keys,
                        key.as_bytes(),
                        value.as_ref().map(|value| value.text().as_bytes()),
                    );
                }
            })?;
            self.base = Some(base);
        }
        Ok(())
    }

    /// Takes what is large in memory out of keys that are about to be dropped, and has it freed elsewhere.
    pub(in crate::kv) fn strip(&mut self) {
        let large = (mem::take(&mut self.recent), mem::take(&mut self.flushing), mem::take(&mut self.long));
        self.space.database.free(large);
    }

    /// How many bytes are not set aside.
    pub(in crate::kv) fn recent_bytes(&self) -> usize {
        self.recent.bytes
    }
}
