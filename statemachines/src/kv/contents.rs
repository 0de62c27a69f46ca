//! What a shard holds: its keys, and the sessions that protect the operations on them.

use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use quorate::sessions::Table;
use twox_hash::XxHash3_64;

use super::command::{KvOp, Outcome};
use super::query::Scan;
use super::store::{DiskKeys, Keys, KeysIter};
use super::value::Json;

/// How many bytes one scan answers at most, about.
const SCAN_BYTES_MAX: usize = 4 << 20;

/// Invariants: `bytes` is the sum over all keys of [`size`], and `digest` the wrapping sum of [`print`](print()).
#[derive(Clone, Debug)]
pub(super) struct Contents {
    keys: Keys,
    bytes: u64,
    digest: u64,
    pub(super) sessions: Table,
}

/// What a key and its value count as, in bytes.
pub(super) fn size(key: &str, value: &Json) -> usize {
    key.len() + value.text().len()
}

/// What a key and its value are known by in a digest, which is a sum: so it follows from what is there, whatever way it came.
fn print(key: &str, value: &Json) -> u64 {
    let (key, value) = (XxHash3_64::oneshot(key.as_bytes()), XxHash3_64::oneshot(value.text().as_bytes()));
    XxHash3_64::oneshot(&(u128::from(key) << 64 | u128::from(value)).to_le_bytes())
}

impl Contents {
    pub(super) fn empty(keys: Keys, sessions: Table) -> Self {
        Contents { keys, bytes: 0, digest: 0, sessions }
    }

    /// What is stored. Without a `digest`, which older programs have not stored, all keys are read for it.
    pub(super) fn stored(keys: Keys, bytes: u64, digest: Option<u64>, sessions: Table) -> Self {
        let all =
            || keys.range(Bound::Unbounded).fold(0_u64, |sum, (key, value)| sum.wrapping_add(print(&key, &value)));
        let digest = digest.unwrap_or_else(all);
        Contents { keys, bytes, digest, sessions }
    }

    /// A digest of the keys and their values: the same for the same ones.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn count(&mut self, key: &str, value: &Json) {
        self.bytes += size(key, value) as u64;
        self.digest = self.digest.wrapping_add(print(key, value));
    }

    fn discount(&mut self, key: &str, value: &Json) {
        self.bytes -= size(key, value) as u64;
        self.digest = self.digest.wrapping_sub(print(key, value));
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn get(&self, key: &str) -> Option<Json> {
        self.keys.get(key)
    }

    pub(super) fn put(&mut self, key: Arc<str>, value: Json) {
        self.count(&key, &value);
        if let Some(old) = self.keys.insert(Arc::clone(&key), value) {
            self.discount(&key, &old);
        }
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        let Some(old) = self.keys.remove(key) else { return false };
        self.discount(key, &old);
        true
    }

    /// Adds a key that comes after all others, as a snapshot gives them.
    pub(super) fn append(&mut self, key: Arc<str>, value: Json) {
        if self.disk().is_none() {
            return self.put(key, value);
        }
        self.count(&key, &value);
        if let Some(keys) = self.disk_mut() {
            keys.append(key, value);
        }
    }

    /// Removes the first key that takes memory, of contents that nobody asks for any more; says whether there was one.
    pub(super) fn free_first(&mut self) -> bool {
        let Keys::Memory(keys) = &mut self.keys else { return false };
        match keys.get_min().map(|(key, _)| Arc::clone(key)) {
            Some(key) => keys.remove(&key).is_some(),
            None => false,
        }
    }

    /// What of it is in memory for good.
    pub(super) fn without_disk(mut self) -> Self {
        if let Keys::Disk(keys) = &mut self.keys {
            keys.strip();
            self.keys = Keys::Memory(OrdMap::new());
        }
        self
    }

    /// The disk side of its keys, if they are on a disk.
    pub(super) fn disk(&self) -> Option<&DiskKeys> {
        match &self.keys {
            Keys::Memory(_) => None,
            Keys::Disk(keys) => Some(keys),
        }
    }

    /// The same, to be changed.
    pub(super) fn disk_mut(&mut self) -> Option<&mut DiskKeys> {
        match &mut self.keys {
            Keys::Memory(_) => None,
            Keys::Disk(keys) => Some(keys),
        }
    }

    /// Carries an operation out; says what came of it, and whether the key changed.
    pub(super) fn apply(&mut self, op: KvOp) -> (Outcome, bool) {
        match op {
            KvOp::Put { key, value } => {
                self.put(key, value);
                (Outcome::Put, true)
            }
            KvOp::Append { key, value } => {
                let appended = match self.get(&key) {
                    None => Some(value),
                    Some(old) => old.appended(&value),
                };
                let Some(appended) = appended else { return (Outcome::NotAppendable, false) };
                self.put(key, appended);
                (Outcome::Appended, true)
            }
            KvOp::Delete { key } => {
                let existed = self.remove(&key);
                (Outcome::Deleted { existed }, existed)
            }
            KvOp::Cas { key, from, to, create_if_not_exists } => {
                match self.get(&key) {
                    None if !create_if_not_exists => return (Outcome::Missing, false),
                    Some(old) if !old.same_as(&from) => return (Outcome::Different, false),
                    _ => self.put(key, to),
                }
                (Outcome::Swapped, true)
            }
        }
    }

    /// The keys after `after`, in their order.
    pub(super) fn keys_after(&self, after: Option<&str>) -> KeysIter<'_> {
        self.keys.range(after.map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// The keys that a scan asks for, and whether it ended before the last of them.
    pub(super) fn scan(&self, scan: &Scan) -> (Vec<(Arc<str>, Json)>, bool) {
        let prefix = scan.prefix.as_deref().unwrap_or_default();
        let start = scan.from.as_deref().unwrap_or_default().max(prefix);
        let wanted = |key: &str| key.starts_with(prefix) && scan.to.as_deref().is_none_or(|to| key < to);
        let (mut items, mut bytes) = (Vec::new(), 0);
        for (key, value) in self.keys.range(Bound::Included(start)) {
            if !wanted(&key) {
                break;
            }
            if scan.limit.is_some_and(|limit| items.len() as u64 >= limit) || bytes >= SCAN_BYTES_MAX {
                return (items, true);
            }
            bytes += size(&key, &value);
            items.push((key, value));
        }
        (items, false)
    }

    /// All keys, as they are now. Costs nothing when they are in memory; else all of them are read into it.
    pub(super) fn all(&self) -> OrdMap<Arc<str>, Json> {
        match &self.keys {
            Keys::Memory(keys) => keys.clone(),
            Keys::Disk(_) => self.keys.range(Bound::Unbounded).collect(),
        }
    }

    /// The keys, as they are now.
    pub(super) fn keys(&self) -> Keys {
        self.keys.clone()
    }

    /// All keys, by an iterator that owns what it reads and sees no later change.
    pub(super) fn into_keys(self) -> impl Iterator<Item = (Arc<str>, Json)> + Send + 'static {
        self.keys.into_iter()
    }
}
