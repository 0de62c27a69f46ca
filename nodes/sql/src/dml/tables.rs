//! CREATE TABLE and DROP TABLE.
//!
//! The first shard decides between statements that run at the same time: a table is created there first and dropped there
//! last. So of two CREATEs one fails with nothing kept, and a DROP that came through only in part can be repeated.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{CreateTable, ObjectName, ObjectType};
use futures::stream::StreamExt;
use quorate_statemachines::kv::{Batch, Change, Check, Expect, Json};

use super::error::StatementError;
use super::parts::{Run, Work};
use super::{Affected, Dml, incarnation};
use crate::data::{KvView, ShardView, Sight};
use crate::declare::{declared, table_name};
use crate::rows::{catalogue_key, dropped_key};
use crate::schema::{TableId, TableSchema};

impl Dml {
    pub(super) async fn create_table(&self, run: &Run<'_>, create: &CreateTable) -> Result<Affected, StatementError> {
        let id = TableId(incarnation(run.number, run.digest).into());
        let mut table = declared(create, id).map_err(StatementError::Invalid)?;
        let shards = self.everywhere();
        let mut views = self.views(run, &shards, |_| Sight::Catalogue);
        while let Some((_, view)) = views.next().await {
            let Some(there) = view?.table(&table.name) else { continue };
            if there.id == table.id {
                continue;
            }
            if !create.if_not_exists {
                return Err(exists(&table.name));
            }
            // Where it is missing it is added as it is elsewhere.
            table = TableSchema::clone(&there);
        }
        drop(views);
        let declaration = serde_json::to_string(&table).map_err(|error| StatementError::Invalid(error.to_string()))?;
        let work: Arc<dyn Work> =
            Arc::new(Create { table, declaration: Json::made(declaration), if_not_exists: create.if_not_exists });
        let (first, others) = shards.split_at(shards.len().min(1));
        let mut parts = run.all(first, &work).await;
        if parts.iter().all(|(_, part)| part.is_ok()) {
            parts.extend(run.all(others, &work).await);
        }
        without_rows(run.outcome(parts))
    }

    pub(super) async fn drop_table(
        &self,
        run: &Run<'_>,
        object: ObjectType,
        if_exists: bool,
        names: &[ObjectName],
    ) -> Result<Affected, StatementError> {
        let (ObjectType::Table, [name]) = (object, names) else {
            return Err(StatementError::Invalid("DROP takes one TABLE".into()));
        };
        let name = table_name(name).map_err(StatementError::Invalid)?;
        let shards = self.everywhere();
        if !if_exists {
            match self.table(run, &name).await {
                Err(error @ StatementError::UnknownTable(_)) if !run.was_run(&shards).await => return Err(error),
                Err(error) if !matches!(error, StatementError::UnknownTable(_)) => return Err(error),
                _ => {}
            }
        }
        let work: Arc<dyn Work> = Arc::new(Drop { table: name });
        let (first, others) = shards.split_at(shards.len().min(1));
        let mut parts = run.all(others, &work).await;
        if parts.iter().all(|(_, part)| part.is_ok()) {
            parts.extend(run.all(first, &work).await);
        }
        without_rows(run.outcome(parts))
    }
}

/// A declaration counts as one row on each shard, to know what was kept; for the client it is none.
fn without_rows(outcome: Result<Affected, StatementError>) -> Result<Affected, StatementError> {
    match outcome {
        Ok(affected) => Ok(Affected { rows: 0, ..affected }),
        Err(StatementError::Partial { shards, text, .. }) => Err(StatementError::Partial { rows: 0, shards, text }),
        Err(error) => Err(error),
    }
}

fn exists(table: &str) -> StatementError {
    StatementError::Exists(format!("table {table} exists"))
}

struct Create {
    table: TableSchema,
    declaration: Json,
    if_not_exists: bool,
}

impl Work for Create {
    fn part(&self, _: usize, view: &KvView) -> Result<Option<Batch>, StatementError> {
        if self.if_not_exists && view.table(&self.table.name).is_some() {
            return Ok(None);
        }
        Ok(Some(Batch {
            statement: 0,
            // What is left of a table of the same incarnation would be taken for rows of this one.
            checks: vec![Check { key: dropped_key(&self.table.id), expect: Expect::Absent }],
            changes: vec![Change {
                key: catalogue_key(&self.table.name),
                expect: Expect::Absent,
                value: Some(self.declaration.clone()),
            }],
            rows: 1,
        }))
    }

    fn exists(&self, _: &str) -> StatementError {
        exists(&self.table.name)
    }
}

struct Drop {
    table: Arc<str>,
}

impl Work for Drop {
    fn part(&self, _: usize, view: &KvView) -> Result<Option<Batch>, StatementError> {
        let (Some(table), Some(declaration)) = (view.table(&self.table), view.declaration(&self.table)) else {
            return Ok(None);
        };
        // The rows are swept later: there may be many.
        let forget =
            Change { key: catalogue_key(&self.table), expect: Expect::Seen(declaration.digest()), value: None };
        let marker = Change { key: dropped_key(&table.id), expect: Expect::Anything, value: Some(Json::made("true")) };
        Ok(Some(Batch { statement: 0, checks: Vec::new(), changes: vec![forget, marker], rows: 1 }))
    }

    fn exists(&self, _: &str) -> StatementError {
        StatementError::UnknownTable(self.table.to_string())
    }
}
