//! UPDATE and DELETE: each shard finds its own rows, works out what becomes of them, and changes them if they are still
//! as they were found.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, BinaryOperator, Delete, Expr, FromTable, TableFactor, TableWithJoins, Update,
};
use quorate_statemachines::kv::{Batch, Change, Expect};
use quorate_statemachines::slot::shard_of;

use super::error::StatementError;
use super::evaluate::{Evaluator, fit, invalid, literal, schema_of};
use super::insert::{declared_still, here, position};
use super::parts::{Run, Work};
use super::{Affected, Dml};
use crate::data::{KvView, ShardError, ShardView, Sight};
use crate::declare::{identifier, table_name};
use crate::rows::{Cell, cell_at, decode, encode, row_at, row_key, shard_text};
use crate::schema::TableSchema;

impl Dml {
    pub(super) async fn update(
        &self,
        run: &Run<'_>,
        update: &Update,
        evaluator: Evaluator,
    ) -> Result<Affected, StatementError> {
        let extras = update.from.is_some() || update.returning.is_some() || update.limit.is_some();
        if extras || !update.order_by.is_empty() || update.or.is_some() {
            return Err(StatementError::Invalid("UPDATE takes SET and WHERE only".into()));
        }
        let found = self.found(run, &update.table, update.selection.as_ref(), evaluator).await?;
        let mut sets: Vec<(usize, Arc<dyn PhysicalExpr>)> = Vec::with_capacity(update.assignments.len());
        for assignment in &update.assignments {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(StatementError::Invalid("SET of a tuple is not supported".into()));
            };
            let ident = name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default();
            let position = position(&found.table, &ident)?;
            if found.table.key.contains(&position) {
                return Err(StatementError::Invalid(format!("column {ident} is of the primary key: it cannot change")));
            }
            if sets.iter().any(|(earlier, _)| *earlier == position) {
                return Err(StatementError::Invalid(format!("column {ident} is set twice")));
            }
            sets.push((position, found.evaluator.prepare(&assignment.value, &found.schema)?));
        }
        self.change(run, found, Some(sets)).await
    }

    pub(super) async fn delete(
        &self,
        run: &Run<'_>,
        delete: &Delete,
        evaluator: Evaluator,
    ) -> Result<Affected, StatementError> {
        let extras = delete.using.is_some() || delete.returning.is_some() || delete.limit.is_some();
        if extras || !delete.order_by.is_empty() || !delete.tables.is_empty() {
            return Err(StatementError::Invalid("DELETE takes FROM and WHERE only".into()));
        }
        let (FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables)) = &delete.from;
        let [table] = tables.as_slice() else {
            return Err(StatementError::Invalid("DELETE takes one table".into()));
        };
        let found = self.found(run, table, delete.selection.as_ref(), evaluator).await?;
        self.change(run, found, None).await
    }

    /// The table of a statement, and which of its rows are meant.
    async fn found(
        &self,
        run: &Run<'_>,
        table: &TableWithJoins,
        selection: Option<&Expr>,
        evaluator: Evaluator,
    ) -> Result<Found, StatementError> {
        let (TableFactor::Table { name, alias, args: None, .. }, true) = (&table.relation, table.joins.is_empty())
        else {
            return Err(StatementError::Invalid("a statement that changes rows takes one table".into()));
        };
        let name = table_name(name).map_err(StatementError::Invalid)?;
        let table = self.table(run, &name).await?;
        let alias = alias.as_ref().map_or(name, |alias| identifier(&alias.name));
        let schema = schema_of(&table, &alias)?;
        let predicate = selection.map(|selection| evaluator.prepare(selection, &schema)).transpose()?;
        if let Some(predicate) = &predicate {
            let kind = predicate.data_type(schema.as_arrow()).map_err(|error| invalid(&error))?;
            if !matches!(kind, DataType::Boolean | DataType::Null) {
                return Err(StatementError::Invalid(format!("WHERE takes a condition, not a value of type {kind}")));
            }
        }
        let only = selection.and_then(|selection| only_row(&table, selection));
        Ok(Found { table, schema, predicate, only, evaluator })
    }

    async fn change(
        &self,
        run: &Run<'_>,
        found: Found,
        sets: Option<Vec<(usize, Arc<dyn PhysicalExpr>)>>,
    ) -> Result<Affected, StatementError> {
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let shard_of = |row: &Vec<Cell>| vec![shard_of(&shard_text(&found.table, row), shards).0 as usize];
        let concerned = found.only.as_ref().map_or_else(|| self.everywhere(), shard_of);
        let Found { table, predicate, only, .. } = found;
        let work: Arc<dyn Work> = Arc::new(Changes { table, predicate, only, sets });
        run.outcome(run.all(&concerned, &work).await)
    }
}

struct Found {
    table: Arc<TableSchema>,
    schema: DFSchema,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    /// The primary key that the condition names, if it names one.
    only: Option<Vec<Cell>>,
    evaluator: Evaluator,
}

/// The one row that a condition leaves, when it names the whole primary key: cells of its key.
fn only_row(table: &TableSchema, selection: &Expr) -> Option<Vec<Cell>> {
    let mut row = vec![Cell::Null; table.columns.len()];
    pin(table, selection, &mut row);
    table.key.iter().all(|position| !row[*position].is_null()).then_some(row)
}

/// Takes down which columns a condition sets equal to a literal of their own type.
fn pin(table: &TableSchema, condition: &Expr, row: &mut [Cell]) {
    match condition {
        Expr::Nested(inside) => pin(table, inside, row),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            pin(table, left, row);
            pin(table, right, row);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
            for (column, value) in [(left, right), (right, left)] {
                let name = match &**column {
                    Expr::Identifier(ident) => identifier(ident),
                    Expr::CompoundIdentifier(parts) => parts.last().map(identifier).unwrap_or_default(),
                    _ => continue,
                };
                let Some(position) = table.columns.iter().position(|column| column.name == name) else { continue };
                if let Some(cell) = literal(value, table.columns[position].kind) {
                    row[position] = cell;
                }
            }
        }
        _ => {}
    }
}

/// The rows that a condition selects, and their new values; without `sets` they are removed.
struct Changes {
    table: Arc<TableSchema>,
    predicate: Option<Arc<dyn PhysicalExpr>>,
    only: Option<Vec<Cell>>,
    sets: Option<Vec<(usize, Arc<dyn PhysicalExpr>)>>,
}

impl Work for Changes {
    fn sight(&self, _: usize) -> Sight {
        match &self.only {
            Some(row) => Sight::rows(&self.table, [row]),
            None => Sight::Table(Arc::clone(&self.table.name)),
        }
    }

    fn part(&self, _: usize, view: &KvView) -> Result<Option<Batch>, StatementError> {
        let table = here(&self.table, view)?;
        let mut changes = Vec::new();
        for batch in self.candidates(&table, view)?.iter() {
            self.of_batch(&table, view, &self.selected(batch)?, &mut changes)?;
        }
        if changes.is_empty() {
            return Ok(None);
        }
        let rows = changes.len() as u64;
        Ok(Some(Batch { statement: 0, checks: declared_still(&table, view), changes, rows }))
    }

    fn exists(&self, _: &str) -> StatementError {
        StatementError::Conflict(format!("a row of table {} came back", self.table.name))
    }
}

impl Changes {
    /// The rows among which the condition chooses: all, or the one that it names.
    fn candidates(&self, table: &TableSchema, view: &KvView) -> Result<Arc<[RecordBatch]>, StatementError> {
        let Some(row) = &self.only else { return Ok(view.batches(table)?) };
        let text = view.get(&row_key(table, row));
        let batch = decode(table, &table.arrow(), text).map_err(|damaged| ShardError::Failed(damaged.to_string()))?;
        Ok(Arc::new([batch]))
    }

    fn selected(&self, batch: &RecordBatch) -> Result<RecordBatch, StatementError> {
        let Some(predicate) = &self.predicate else { return Ok(batch.clone()) };
        let chosen = values(predicate, batch)?;
        match chosen.as_boolean_opt() {
            Some(chosen) => filter_record_batch(batch, chosen).map_err(|error| invalid(&error.into())),
            // NULL for every row.
            None => Ok(batch.slice(0, 0)),
        }
    }

    fn of_batch(
        &self,
        table: &TableSchema,
        view: &KvView,
        selected: &RecordBatch,
        changes: &mut Vec<Change>,
    ) -> Result<(), StatementError> {
        if selected.num_rows() == 0 {
            return Ok(());
        }
        let sets = self.sets.as_ref().map(|sets| {
            let set = |(position, expr): &(usize, Arc<dyn PhysicalExpr>)| {
                Ok((*position, fit(&values(expr, selected)?, &table.columns[*position])?))
            };
            sets.iter().map(set).collect::<Result<Vec<(usize, ArrayRef)>, StatementError>>()
        });
        let sets = sets.transpose()?;
        let damaged = || StatementError::Unavailable(format!("a row of table {} is damaged", table.name));
        for nth in 0..selected.num_rows() {
            let mut row = row_at(table, selected, nth).ok_or_else(damaged)?;
            let key = row_key(table, &row);
            let seen = view.get(&key).ok_or_else(damaged)?.digest();
            let value = match &sets {
                None => None,
                Some(sets) => {
                    for (position, array) in sets {
                        let column = &table.columns[*position];
                        row[*position] = cell_at(&**array, nth, column.kind).ok_or_else(damaged)?;
                        row[*position].check(column)?;
                    }
                    Some(encode(table, &row))
                }
            };
            changes.push(Change { key, expect: Expect::Seen(seen), value });
        }
        Ok(())
    }
}

fn values(expr: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> Result<ArrayRef, StatementError> {
    let value = expr.evaluate(batch).map_err(|error| invalid(&error))?;
    value.into_array(batch.num_rows()).map_err(|error| invalid(&error))
}
