//! Keys in their order, from the layers that a disk store is made of: the newest layer that knows a key decides.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::layout::PREFIX_BYTES;
use super::space::Fault;
use crate::kv::value::Json;

/// Layers, the newest first. Owns what it reads.
pub(in crate::kv) struct DiskIter {
    recent: Cursor<Option<Json>>,
    flushing: Cursor<Option<Json>>,
    long: Cursor<Json>,
    base: Option<fjall::Iter>,
    base_head: Option<(Arc<str>, Json)>,
    fault: Fault,
}

/// A place in a map that others may share.
pub(super) struct Cursor<V> {
    map: OrdMap<Arc<str>, V>,
    head: Option<(Arc<str>, V)>,
}

impl<V: Clone> Cursor<V> {
    pub(super) fn new(map: OrdMap<Arc<str>, V>, start: Bound<&str>) -> Self {
        let mut cursor = Cursor { map, head: None };
        cursor.seek(start);
        cursor
    }

    fn seek(&mut self, start: Bound<&str>) {
        let found = self.map.range::<_, str>((start, Bound::Unbounded)).next();
        self.head = found.map(|(key, value)| (Arc::clone(key), value.clone()));
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.head.as_ref().map(|(key, _)| key)
    }

    /// Takes the head if it is `key`.
    fn take(&mut self, key: &str) -> Option<V> {
        let (at, value) = self.head.take_if(|(at, _)| **at == *key)?;
        self.seek(Bound::Excluded(&at));
        Some(value)
    }
}

impl DiskIter {
    pub(super) fn new(
        recent: Cursor<Option<Json>>,
        flushing: Cursor<Option<Json>>,
        long: Cursor<Json>,
        base: Option<fjall::Iter>,
        start: Bound<&str>,
        fault: Fault,
    ) -> Self {
        let mut merged = DiskIter { recent, flushing, long, base, base_head: None, fault };
        merged.step_base();
        // A start that is too long for the database is only come near to.
        let too_early = |key: &str| match start {
            Bound::Included(start) => key < start,
            Bound::Excluded(start) => key <= start,
            Bound::Unbounded => false,
        };
        while merged.base_head.as_ref().is_some_and(|(key, _)| too_early(key)) {
            merged.base_head = None;
            merged.step_base();
        }
        merged
    }

    fn step_base(&mut self) {
        let Some(guard) = self.base.as_mut().and_then(Iterator::next) else { return };
        match guard.into_inner().map_err(|error| error.to_string()).and_then(|(key, value)| entry(&key, &value)) {
            Ok(entry) => self.base_head = Some(entry),
            Err(error) => self.fault.set(error),
        }
    }

    fn take_base(&mut self, key: &str) -> Option<Json> {
        let (_, value) = self.base_head.take_if(|(at, _)| **at == *key)?;
        self.step_base();
        Some(value)
    }
}

impl Iterator for DiskIter {
    type Item = (Arc<str>, Json);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.fault.is_set() {
                return None;
            }
            let base = self.base_head.as_ref().map(|(key, _)| key);
            let heads = [self.recent.key(), self.flushing.key(), self.long.key(), base];
            let key = Arc::clone(heads.into_iter().flatten().min()?);
            let recent = self.recent.take(&key);
            let flushing = self.flushing.take(&key);
            let long = self.long.take(&key).map(Some);
            let base = self.take_base(&key).map(Some);
            if let Some(value) = recent.or(flushing).or(long).or(base).flatten()
                && !self.fault.is_set()
            {
                return Some((key, value));
            }
        }
    }
}

/// A record of [`super::Part::Keys`].
fn entry(key: &[u8], value: &[u8]) -> Result<(Arc<str>, Json), String> {
    let name = key.get(PREFIX_BYTES..).ok_or("a key without its prefix")?;
    let name = std::str::from_utf8(name).map_err(|error| format!("a key that is no text: {error}"))?;
    Ok((Arc::from(name), json(value)?))
}

pub(super) fn json(value: &[u8]) -> Result<Json, String> {
    std::str::from_utf8(value).map(Json::made).map_err(|error| format!("a value that is no text: {error}"))
}
