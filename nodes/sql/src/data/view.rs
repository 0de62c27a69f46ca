//! A shard of a key-value group at one moment, as tables.
//!
//! Promises: what a view shows is what its keys were, whatever is written meanwhile.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use quorate::types::Index;
use quorate_statemachines::kv::Json;

use super::cache::{Cache, Keys};
use super::{ShardError, ShardView};
use crate::rows::{CATALOGUE, DROPPED, catalogue_key};
use crate::schema::{TableId, TableSchema};

/// A shard at one moment.
#[derive(Debug)]
pub struct KvView {
    pub(super) keys: Keys,
    pub(super) applied: Index,
    tables: BTreeMap<Arc<str>, Arc<TableSchema>>,
    pub(super) cache: Arc<Cache>,
}

impl KvView {
    pub(super) fn new(keys: Keys, applied: Index, cache: Arc<Cache>) -> Result<Self, ShardError> {
        let mut tables = BTreeMap::new();
        let declarations = keys.range::<_, str>((Bound::Included(CATALOGUE), Bound::Unbounded));
        for (key, value) in declarations.take_while(|(key, _)| key.starts_with(CATALOGUE)) {
            let table: TableSchema = serde_json::from_str(value.text())
                .map_err(|error| ShardError::Failed(format!("the declaration {key} is damaged: {error}")))?;
            tables.insert(Arc::clone(&table.name), Arc::new(table));
        }
        Ok(KvView { keys, applied, tables, cache })
    }

    /// A key's value.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.keys.get(key)
    }

    /// What a change of a table's rows rests on: the table's declaration, as it is here.
    pub fn declaration(&self, table: &str) -> Option<&Json> {
        self.keys.get(&*catalogue_key(table))
    }

    /// Keys that begin with `prefix`, in their order.
    pub fn keys_of<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<str>> + 'a {
        let keys = self.keys.range::<_, str>((Bound::Included(prefix), Bound::Unbounded)).map(|(key, _)| key);
        keys.take_while(move |key| key.starts_with(prefix))
    }

    /// The dropped tables of which rows may be left.
    pub fn dropped(&self) -> Vec<TableId> {
        let names = self.keys_of(DROPPED).filter_map(|key| key.strip_prefix(DROPPED));
        names.map(|name| TableId(name.into())).collect()
    }

    /// How many rows the replica's cache has decoded so far, and how many bytes it holds.
    pub fn cache_use(&self) -> (u64, usize) {
        (self.cache.rows_decoded(), self.cache.bytes())
    }
}

impl ShardView for KvView {
    fn tables(&self) -> Vec<Arc<TableSchema>> {
        self.tables.values().cloned().collect()
    }

    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        self.tables.get(name).cloned()
    }

    fn batches(&self, table: &TableSchema) -> Result<Arc<[RecordBatch]>, ShardError> {
        self.cache.batches(&self.keys, self.applied, table)
    }
}
