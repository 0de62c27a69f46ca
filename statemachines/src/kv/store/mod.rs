//! Where the keys of a shard's copy are: in memory, or in a database on a disk with the newest changes in memory.
//!
//! Promises: both give the same answers in the same order; a clone is O(1), a point in time, and sees no later change.
//! Leaves out: sessions and marks, which are in memory with either (see [`super::durable`] for how they are persisted).

mod chain;
mod database;
mod disk;
mod janitor;
mod layout;
mod merged;
mod space;

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use quorate::sessions::Table;

use super::contents::Contents;
use super::value::Json;

pub(super) use database::{Batch, Inner, failed};
pub use database::{KvDatabase, KvDatabaseOptions, StoreError};
pub(super) use disk::DiskKeys;
pub(super) use layout::{CopyId, Part};
use merged::DiskIter;
pub(super) use space::{Fault, Image, Space};

/// The map of a memory store.
pub(super) type MemoryKeys = OrdMap<Arc<str>, Json>;

/// What an empty copy of a shard is made of, in this machine.
#[derive(Clone, Debug)]
pub(super) struct Blank {
    pub(super) session_ttl: Duration,
    /// Without one, keys are in memory.
    pub(super) space: Option<Arc<Space>>,
}

impl Blank {
    pub(super) fn contents(&self) -> Contents {
        let keys = match &self.space {
            None => Keys::Memory(OrdMap::new()),
            Some(space) => Keys::Disk(DiskKeys::new(space)),
        };
        Contents::empty(keys, Table::new(self.session_ttl))
    }
}

/// The keys of one copy, and their values.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    Memory(MemoryKeys),
    Disk(DiskKeys),
}

impl Keys {
    pub(super) fn len(&self) -> usize {
        match self {
            Keys::Memory(keys) => keys.len(),
            Keys::Disk(keys) => keys.len(),
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Json> {
        match self {
            Keys::Memory(keys) => keys.get(key).cloned(),
            Keys::Disk(keys) => keys.get(key),
        }
    }

    /// Sets a key; gives the value that it had.
    pub(super) fn insert(&mut self, key: Arc<str>, value: Json) -> Option<Json> {
        match self {
            Keys::Memory(keys) => keys.insert(key, value),
            Keys::Disk(keys) => keys.insert(key, value),
        }
    }

    /// Removes a key; gives the value that it had.
    pub(super) fn remove(&mut self, key: &str) -> Option<Json> {
        match self {
            Keys::Memory(keys) => keys.remove(key),
            Keys::Disk(keys) => keys.remove(key),
        }
    }

    /// The keys from `start` on, in their order.
    pub(super) fn range(&self, start: Bound<&str>) -> KeysIter<'_> {
        match self {
            Keys::Memory(keys) => KeysIter::Memory(Box::new(keys.range::<_, str>((start, Bound::Unbounded)))),
            Keys::Disk(keys) => KeysIter::Disk(Box::new(keys.range(start))),
        }
    }

    /// All keys, by an iterator that owns what it reads.
    pub(super) fn into_iter(self) -> Box<dyn Iterator<Item = (Arc<str>, Json)> + Send> {
        match self {
            Keys::Memory(keys) => Box::new(keys.into_iter()),
            Keys::Disk(keys) => Box::new(keys.range(Bound::Unbounded)),
        }
    }
}

/// A look through some keys. Ends early when the store fails, which its [`Fault`] then tells.
pub(super) enum KeysIter<'a> {
    Memory(Box<imbl::ordmap::RangedIter<'a, Arc<str>, Json, imbl::shared_ptr::DefaultSharedPtr>>),
    Disk(Box<DiskIter>),
}

impl Iterator for KeysIter<'_> {
    type Item = (Arc<str>, Json);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            KeysIter::Memory(keys) => keys.next().map(|(key, value)| (Arc::clone(key), value.clone())),
            KeysIter::Disk(keys) => keys.next(),
        }
    }
}
