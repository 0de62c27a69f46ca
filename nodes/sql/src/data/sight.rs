//! What of a shard a change needs to see: so much is fetched where the shard is in another process.

use std::ops::Bound;
use std::sync::Arc;

use quorate::types::Index;
use quorate_statemachines::kv::Json;
use serde::{Deserialize, Serialize};

use super::cache::{Cache, CacheOptions, Keys};
use super::{KvView, ShardError, ShardView};
use crate::rows::{CATALOGUE, DROPPED, row_key, rows_prefix};
use crate::schema::TableSchema;

/// Keys of a shard; the declarations of its tables are among them in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sight {
    /// Nothing else.
    Catalogue,
    /// These rows of a table, as far as they are there.
    Rows {
        /// The table, which the shard may have under an incarnation of its own.
        table: Arc<str>,
        /// The rows' keys without what the keys of all rows begin with.
        keys: Vec<String>,
    },
    /// All rows of a table.
    Table(Arc<str>),
    /// Everything.
    Everything,
    /// The markers of dropped tables, and so many keys of the first of these tables at most.
    Dropped(usize),
}

impl Sight {
    /// Rows of a table by the cells of their primary keys.
    pub(crate) fn rows<'a>(table: &TableSchema, rows: impl IntoIterator<Item = &'a Vec<crate::rows::Cell>>) -> Sight {
        let prefix = rows_prefix(&table.id);
        let rest = |row: &Vec<crate::rows::Cell>| row_key(table, row).strip_prefix(&*prefix).map(str::to_owned);
        Sight::Rows { table: Arc::clone(&table.name), keys: rows.into_iter().filter_map(rest).collect() }
    }
}

/// Keys with their values, as they travel.
pub(crate) type Pairs = Vec<(Arc<str>, Json)>;

impl KvView {
    /// What `sight` has of it.
    pub(crate) fn seen(&self, sight: &Sight) -> Pairs {
        let mut pairs = self.pairs_of(CATALOGUE, usize::MAX);
        match sight {
            Sight::Catalogue => {}
            Sight::Rows { table, keys } => {
                let Some(table) = self.table(table) else { return pairs };
                let prefix = rows_prefix(&table.id);
                let row = |rest: &String| self.keys.get_key_value(&*format!("{prefix}{rest}"));
                pairs.extend(keys.iter().filter_map(row).map(|(key, value)| (Arc::clone(key), value.clone())));
            }
            Sight::Table(table) => {
                let Some(table) = self.table(table) else { return pairs };
                pairs.extend(self.pairs_of(&rows_prefix(&table.id), usize::MAX));
            }
            Sight::Everything => return self.pairs_of("", usize::MAX),
            Sight::Dropped(count) => {
                pairs.extend(self.pairs_of(DROPPED, usize::MAX));
                if let Some(id) = self.dropped().first() {
                    pairs.extend(self.pairs_of(&rows_prefix(id), *count));
                }
            }
        }
        pairs
    }

    fn pairs_of(&self, prefix: &str, count: usize) -> Pairs {
        let pairs = self.keys.range::<_, str>((Bound::Included(prefix), Bound::Unbounded));
        let pairs = pairs.take_while(|(key, _)| key.starts_with(prefix)).take(count);
        pairs.map(|(key, value)| (Arc::clone(key), value.clone())).collect()
    }

    /// A view that has nothing but these.
    pub(crate) fn of_pairs(pairs: Pairs, applied: Index) -> Result<KvView, ShardError> {
        let keys: Keys = pairs.into_iter().collect();
        KvView::new(keys, applied, Arc::new(Cache::new(CacheOptions::default())))
    }

    /// What the replica had applied.
    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    /// How many rows of a table the replica's cache has, whichever view it was filled for.
    pub(crate) fn rows_cached(&self, table: &TableSchema) -> Option<usize> {
        self.cache.rows(table)
    }
}
