//! The chain: what shows that no batch is missing, nor out of its place.
//!
//! Batch `n` leaves a record of that number, signed `n`, and signs the record of `n + 1` too, which the next batch signs over.
//! A journal of the database is read up to the first record that makes no sense, which is taken for its end, though newer
//! batches may be found in a newer journal or in a table; and a batch's place in the order is not under its checksum. So after
//! damage an old batch could be missing under a new one, or lie over it. Either shows in the signatures: from those batches on
//! that are in journals only, each has to have signed its own record last.
//!
//! Leaves out: what is missing at the end. It is a crash, or damage, and leaves an older state, whole; whether the log still
//! goes back that far, the engine checks.

use std::collections::BTreeMap;

use fjall::{Keyspace, OwnedWriteBatch};

use super::database::Trouble;
use super::layout;

/// So many batches are chained before the database is asked to write the tables that make their numbers dispensable.
pub(super) const LENGTH: u64 = 1024;

/// Invariant: the records `floor..next` are in the database, each signed by its own batch, and name the floor that was in
/// force.
pub(super) struct Chain {
    pub(super) next: u64,
    /// What comes before is in tables.
    pub(super) floor: u64,
    /// What comes before is removed.
    swept: u64,
    /// How far the janitor has been asked to raise the floor.
    asked: u64,
}

impl Chain {
    pub(super) fn read(keyspace: &Keyspace) -> Result<Chain, Trouble> {
        let damaged = |what: &str| Trouble::Damaged(what.into());
        let mut signatures = BTreeMap::new();
        let mut floor = 0;
        for record in keyspace.range(layout::chain_range()) {
            let (key, value) = record.into_inner()?;
            let (Some(number), Some((named, signed))) = (layout::chain_number(&key), layout::chain_record_of(&value))
            else {
                return Err(damaged("a chain record that makes no sense"));
            };
            // The one after the last batch repeats what that said.
            floor = named;
            signatures.insert(number, signed);
        }
        let Some((next, _)) = signatures.last_key_value().map(|(number, signed)| (*number, *signed)) else {
            return Ok(Chain { next: 0, floor: 0, swept: 0, asked: 0 });
        };
        if let Some(wrong) = (floor..next).find(|number| signatures.get(number) != Some(number)) {
            return Err(Trouble::Damaged(format!("batch {wrong} is missing or out of its place, before batch {next}")));
        }
        if signatures.get(&next).copied() != next.checked_sub(1) {
            return Err(damaged("the last batch is out of its place"));
        }
        let swept = signatures.keys().next().copied().unwrap_or(0).min(floor);
        Ok(Chain { next, floor, swept, asked: floor })
    }

    /// Whether there was never a batch.
    pub(super) fn is_new(&self) -> bool {
        self.next == 0
    }

    /// Has the next batch leave its signatures, and remove those that are dispensable.
    pub(super) fn sign(&self, batch: &mut OwnedWriteBatch, keyspace: &Keyspace) {
        let record = layout::chain_record(self.floor, self.next);
        batch.insert(keyspace, layout::chain(self.next), record);
        batch.insert(keyspace, layout::chain(self.next + 1), record);
        for dispensable in self.swept..self.floor {
            batch.remove(keyspace, layout::chain(dispensable));
        }
    }

    /// That batch is written. Says, once, whether the chain has become long.
    pub(super) fn signed(&mut self) -> bool {
        self.next += 1;
        self.swept = self.floor;
        let long = self.next - self.floor.max(self.asked) >= LENGTH;
        if long {
            self.asked = self.next;
        }
        long
    }
}
