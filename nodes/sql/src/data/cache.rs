//! A replica's tables as Arrow batches, decoded once and then kept up to date by what changed.
//!
//! Promises: the batches of a view hold exactly that view's rows, whatever version the cache itself is at; a view that
//! follows a cached one costs what changed between them; the cache stays within its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::arrow::record_batch::RecordBatch;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate::types::Index;
use quorate_statemachines::kv::Json;

use super::ShardError;
use crate::rows::{decode, rows_prefix};
use crate::schema::{TableId, TableSchema};

/// How much a replica's cache keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// So many bytes of batches at most.
    pub bytes_max: usize,
    /// About so many rows in one batch: what is decoded again when one of them changes.
    pub block_rows: usize,
}

impl Default for CacheOptions {
    fn default() -> Self {
        CacheOptions { bytes_max: 256 << 20, block_rows: 8192 }
    }
}

/// The keys of a shard and their values at one moment.
pub(super) type Keys = OrdMap<Arc<str>, Json>;

/// The cached tables of one replica.
#[derive(Debug)]
pub(super) struct Cache {
    options: CacheOptions,
    tables: Mutex<BTreeMap<TableId, Arc<Slot>>>,
    /// Counts uses: tells which table was used least recently.
    uses: AtomicU64,
    rows_decoded: AtomicU64,
}

#[derive(Debug, Default)]
struct Slot {
    built: Mutex<Option<Built>>,
    bytes: AtomicUsize,
    used: AtomicU64,
}

/// A table as it was at one moment.
///
/// Invariant: block i holds the rows of `keys` from its first key on, up to the first key of block i + 1; the first block
/// also those before it.
#[derive(Clone, Debug)]
struct Built {
    keys: Keys,
    applied: Index,
    blocks: Vec<Block>,
    batches: Arc<[RecordBatch]>,
}

#[derive(Clone, Debug)]
struct Block {
    from: Arc<str>,
    batch: RecordBatch,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(super) fn new(options: CacheOptions) -> Self {
        Cache { options, tables: Mutex::default(), uses: AtomicU64::new(0), rows_decoded: AtomicU64::new(0) }
    }

    /// How many rows were decoded so far.
    pub(super) fn rows_decoded(&self) -> u64 {
        self.rows_decoded.load(Ordering::Relaxed)
    }

    /// The bytes of what is cached.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.tables).values().map(|slot| slot.bytes.load(Ordering::Relaxed)).sum()
    }

    /// How many rows of `table` are cached, if the table is.
    pub(super) fn rows(&self, table: &TableSchema) -> Option<usize> {
        let slot = Arc::clone(lock(&self.tables).get(&table.id)?);
        // Whoever fills it just now holds it: then nobody has counted.
        let built = slot.built.try_lock().ok()?;
        built.as_ref().map(|built| built.batches.iter().map(RecordBatch::num_rows).sum())
    }

    /// The rows of `table` in `keys`, which the replica had after applying `applied`.
    pub(super) fn batches(
        &self,
        keys: &Keys,
        applied: Index,
        table: &TableSchema,
    ) -> Result<Arc<[RecordBatch]>, ShardError> {
        let slot = Arc::clone(lock(&self.tables).entry(table.id.clone()).or_default());
        slot.used.store(self.uses.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let batches = {
            // Held while it is built: who needs the same waits for it instead of doing it again.
            let mut built = lock(&slot.built);
            let next = match &*built {
                Some(built) if built.keys.ptr_eq(keys) => return Ok(Arc::clone(&built.batches)),
                Some(built) => self.follow(built, keys, applied, table)?,
                None => self.build(keys, applied, table)?,
            };
            let batches = Arc::clone(&next.batches);
            // A view older than what is cached gets its own rows, and leaves the newer ones in their place.
            if built.as_ref().is_none_or(|built| built.applied <= applied) {
                let bytes = batches.iter().map(RecordBatch::get_array_memory_size).sum();
                slot.bytes.store(bytes, Ordering::Relaxed);
                *built = Some(next);
            }
            batches
        };
        self.shrink();
        Ok(batches)
    }

    /// Lets the least recently used tables go until the rest fits.
    fn shrink(&self) {
        let mut tables = lock(&self.tables);
        let bytes = |slot: &Arc<Slot>| slot.bytes.load(Ordering::Relaxed);
        let mut all: usize = tables.values().map(bytes).sum();
        while all > self.options.bytes_max {
            let oldest = tables.iter().filter(|(_, slot)| bytes(slot) > 0);
            let oldest = oldest.min_by_key(|(_, slot)| slot.used.load(Ordering::Relaxed));
            let Some(id) = oldest.map(|(id, _)| id.clone()) else { return };
            if let Some(slot) = tables.remove(&id) {
                all -= bytes(&slot);
            }
        }
    }

    fn build(&self, keys: &Keys, applied: Index, table: &TableSchema) -> Result<Built, ShardError> {
        let prefix = rows_prefix(&table.id);
        let mut blocks = Vec::new();
        self.decode(keys, &prefix, &past(&prefix), table, &mut blocks)?;
        Ok(Built::of(keys, applied, blocks))
    }

    /// The same table at another moment: only blocks in which something changed are decoded.
    fn follow(&self, built: &Built, keys: &Keys, applied: Index, table: &TableSchema) -> Result<Built, ShardError> {
        let prefix = rows_prefix(&table.id);
        let mut changed = BTreeSet::new();
        for difference in built.keys.diff(keys) {
            let key: &Arc<str> = match &difference {
                DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key,
                DiffItem::Update { new: (key, _), .. } => key,
            };
            if key.starts_with(&prefix) {
                changed.insert(built.block_of(key));
            }
        }
        let mut blocks = Vec::with_capacity(built.blocks.len() + 1);
        let mut nth = 0;
        while nth < built.blocks.len().max(1) {
            if !changed.contains(&nth) {
                blocks.extend(built.blocks.get(nth).cloned());
                nth += 1;
                continue;
            }
            let from = if nth == 0 { prefix.as_str() } else { &*built.blocks[nth].from };
            while changed.contains(&nth) {
                nth += 1;
            }
            let to = built.blocks.get(nth).map_or_else(|| past(&prefix), |next| next.from.to_string());
            self.decode(keys, from, &to, table, &mut blocks)?;
        }
        Ok(Built::of(keys, applied, blocks))
    }

    /// Decodes the rows from one key up to before another, into blocks of about the same size.
    fn decode(
        &self,
        keys: &Keys,
        from: &str,
        to: &str,
        table: &TableSchema,
        blocks: &mut Vec<Block>,
    ) -> Result<(), ShardError> {
        let rows: Vec<(&Arc<str>, &Json)> =
            keys.range::<_, str>((Bound::Included(from), Bound::Excluded(to))).collect();
        self.rows_decoded.fetch_add(rows.len() as u64, Ordering::Relaxed);
        let schema = table.arrow();
        let wanted = self.options.block_rows.max(1);
        // A block may grow by half before it is split.
        let count = if rows.len() <= wanted + wanted / 2 { 1 } else { rows.len().div_ceil(wanted) };
        for rows in rows.chunks(rows.len().div_ceil(count).max(1)) {
            let texts = rows.iter().map(|(_, value)| *value);
            let batch = decode(table, &schema, texts).map_err(|error| ShardError::Failed(error.to_string()))?;
            blocks.push(Block { from: Arc::clone(rows[0].0), batch });
        }
        Ok(())
    }
}

/// The end of all keys that begin with `prefix`, which ends with a colon.
fn past(prefix: &str) -> String {
    format!("{};", prefix.trim_end_matches(':'))
}

impl Built {
    fn of(keys: &Keys, applied: Index, blocks: Vec<Block>) -> Self {
        let batches = blocks.iter().map(|block| block.batch.clone()).collect();
        Built { keys: keys.clone(), applied, blocks, batches }
    }

    fn block_of(&self, key: &Arc<str>) -> usize {
        self.blocks.partition_point(|block| block.from <= *key).saturating_sub(1)
    }
}
