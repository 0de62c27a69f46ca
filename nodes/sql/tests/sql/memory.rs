//! Shards in memory, that behave as they are told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use quorate_sql::data::{ReadConsistency, ShardData, ShardError, ShardView};
use quorate_sql::schema::TableSchema;
use tokio::time::Instant;

/// How a shard behaves when it is asked for a view.
#[derive(Clone, Debug, Default)]
pub(crate) enum Behaviour {
    #[default]
    Well,
    /// It never answers.
    Silent,
    /// It answers late.
    Slow(Duration),
    Gone,
}

/// The tables of a shard.
#[derive(Default)]
pub(crate) struct MemoryShard {
    tables: Arc<Tables>,
    behaviour: Mutex<Behaviour>,
}

#[derive(Default)]
struct Tables(BTreeMap<Arc<str>, Table>);

type Table = (Arc<TableSchema>, Arc<[RecordBatch]>);

impl MemoryShard {
    pub(crate) fn new(tables: impl IntoIterator<Item = (Arc<TableSchema>, Vec<RecordBatch>)>) -> Arc<Self> {
        let tables = tables.into_iter().map(|(table, batches)| (table.name.clone(), (table, batches.into())));
        Arc::new(MemoryShard { tables: Arc::new(Tables(tables.collect())), behaviour: Mutex::default() })
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().expect("nobody panics holding it") = behaviour;
    }
}

#[async_trait]
impl ShardData for MemoryShard {
    async fn view(&self, _: ReadConsistency, _: Instant) -> Result<Arc<dyn ShardView>, ShardError> {
        let behaviour = self.behaviour.lock().expect("nobody panics holding it").clone();
        match behaviour {
            Behaviour::Well => {}
            Behaviour::Silent => std::future::pending().await,
            Behaviour::Slow(time) => tokio::time::sleep(time).await,
            Behaviour::Gone => return Err(ShardError::Unavailable("it is gone".into())),
        }
        Ok(Arc::<Tables>::clone(&self.tables))
    }
}

impl ShardView for Tables {
    fn tables(&self) -> Vec<Arc<TableSchema>> {
        self.0.values().map(|(table, _)| table.clone()).collect()
    }

    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        self.0.get(name).map(|(table, _)| table.clone())
    }

    fn batches(&self, table: &TableSchema) -> Result<Arc<[RecordBatch]>, ShardError> {
        Ok(self.0[&table.name].1.clone())
    }
}
