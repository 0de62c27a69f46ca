//! An operation on several keys of one shard: all of its changes in one entry, or none.
//!
//! It is worked out beforehand, from a look at the shard, by whoever proposes it; so it says of the keys that it rests on
//! what they have to be when it is applied. When one of them is not, nothing changes, and it is to be worked out anew.
//!
//! Promises: what somebody else changed since the look is never overwritten, if the batch expects something of it. In a
//! session the number belongs to the *statement* that the batch was worked out from: worked out anew, it keeps its
//! number, and takes effect once whichever of its versions comes through.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::contents::Contents;
use super::value::Json;

/// Changes of several keys of one shard, and what they rest on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// The digest of the statement that this was worked out from (see [`quorate::sessions::digest`]): tells a retry from
    /// another statement under the same number.
    pub statement: u64,
    /// What has to be of keys that do not change.
    pub checks: Vec<Check>,
    /// The changes. Of two changes of one key the later counts; both expect what is there before the batch.
    pub changes: Vec<Change>,
    /// What to answer when it is carried out, now and to every retry: how many rows the statement says it changed.
    pub rows: u64,
}

/// What has to be of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The key.
    pub key: Arc<str>,
    /// What has to be there.
    pub expect: Expect,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: Arc<str>,
    /// What has to be there.
    pub expect: Expect,
    /// Its new value; without one it is removed.
    pub value: Option<Json>,
}

/// What a batch expects of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Nothing.
    Anything,
    /// That it does not exist. When it does, the statement has failed, and its session remembers that.
    Absent,
    /// That it is as it was seen: its value has this [digest](Json::digest). When it is not, the statement is to be
    /// worked out anew, and its session remembers nothing.
    Seen(u128),
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchOutcome {
    /// All changes were made.
    Applied {
        /// [`Batch::rows`].
        rows: u64,
    },
    /// A key exists that must not; nothing changed.
    Exists {
        /// The first such key.
        key: Arc<str>,
    },
    /// A key is not as it was seen; nothing changed, nothing is remembered.
    Conflict {
        /// The first such key.
        key: Arc<str>,
    },
}

impl BatchOutcome {
    /// Whether the session keeps it as the number's reply.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, BatchOutcome::Conflict { .. })
    }
}

impl Contents {
    /// Carries a batch out. Its changes were made exactly if it answers [`BatchOutcome::Applied`].
    pub(super) fn apply_batch(&mut self, batch: &Batch) -> BatchOutcome {
        if let Some(failed) = self.check(batch) {
            return failed;
        }
        for Change { key, value, .. } in &batch.changes {
            match value {
                Some(value) => self.put(Arc::clone(key), value.clone()),
                None => _ = self.remove(key),
            }
        }
        BatchOutcome::Applied { rows: batch.rows }
    }

    /// A conflict counts more than a key that exists: what the batch rests on is out of date, perhaps the key too.
    fn check(&self, batch: &Batch) -> Option<BatchOutcome> {
        let checks = batch.checks.iter().map(|check| (&check.key, check.expect));
        let changes = batch.changes.iter().map(|change| (&change.key, change.expect));
        let mut exists = None;
        for (key, expect) in checks.chain(changes) {
            match (expect, self.get(key)) {
                (Expect::Anything, _) | (Expect::Absent, None) => {}
                (Expect::Absent, Some(_)) => _ = exists.get_or_insert(key),
                (Expect::Seen(digest), Some(value)) if value.digest() == digest => {}
                (Expect::Seen(_), _) => return Some(BatchOutcome::Conflict { key: Arc::clone(key) }),
            }
        }
        exists.map(|key| BatchOutcome::Exists { key: Arc::clone(key) })
    }
}
