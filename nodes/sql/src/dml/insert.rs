//! INSERT: rows are worked out once, spread over the shards by their keys, and written where no such key exists.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::sqlparser::ast::{Expr, Insert, Query, SetExpr, TableObject, Values};
use futures::stream::StreamExt;
use quorate_statemachines::kv::{Batch, Change, Check, Expect};
use quorate_statemachines::slot::shard_of;

use super::error::StatementError;
use super::evaluate::{Evaluator, fit};
use super::parts::{Run, Work};
use super::{Affected, Dml, Select};
use crate::data::{KvView, ShardView, Sight};
use crate::declare::{identifier, table_name};
use crate::rows::{Cell, Unfit, catalogue_key, cell_at, encode, row_key, shard_text};
use crate::schema::TableSchema;

impl From<Unfit> for StatementError {
    fn from(unfit: Unfit) -> Self {
        StatementError::Constraint(unfit.to_string())
    }
}

impl Dml {
    pub(super) async fn insert(
        &self,
        run: &Run<'_>,
        insert: &Insert,
        evaluator: &Evaluator,
        select: Option<&dyn Select>,
    ) -> Result<Affected, StatementError> {
        only_an_insert(insert)?;
        let TableObject::TableName(name) = &insert.table else {
            return Err(StatementError::Invalid("INSERT takes the name of a table".into()));
        };
        let table = self.table(run, &table_name(name).map_err(StatementError::Invalid)?).await?;
        let columns = columns(&table, insert)?;
        let source = insert.source.as_deref();
        let source = source.ok_or_else(|| StatementError::Invalid("INSERT without VALUES".into()))?;
        let spreads = run.number.is_named() && self.shards.len() > 1;
        let rows = match (values(source), select) {
            (Some(values), _) => from_values(&table, &columns, values, evaluator, spreads)?,
            (None, Some(_)) if spreads => {
                let text = "INSERT ... SELECT cannot be numbered: a retry could choose other rows on other shards";
                return Err(StatementError::Invalid(text.into()));
            }
            (None, Some(select)) => from_batches(&table, &columns, &select.run(source).await?)?,
            (None, None) => return Err(StatementError::Invalid("INSERT ... SELECT is not supported here".into())),
        };
        self.insert_rows(run, table, rows).await
    }

    async fn insert_rows(
        &self,
        run: &Run<'_>,
        table: Arc<TableSchema>,
        rows: Vec<Vec<Cell>>,
    ) -> Result<Affected, StatementError> {
        let mut keys = HashSet::with_capacity(rows.len());
        let mut by_shard = vec![Vec::new(); self.shards.len()];
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        for row in rows {
            for (cell, column) in row.iter().zip(&table.columns) {
                cell.check(column)?;
            }
            let key = shard_text(&table, &row);
            if !keys.insert(row_key(&table, &row)) {
                return Err(StatementError::Exists(format!("the statement has two rows with the primary key {key}")));
            }
            by_shard[shard_of(&key, shards).0 as usize].push(row);
        }
        let concerned: Vec<usize> = (0..by_shard.len()).filter(|shard| !by_shard[*shard].is_empty()).collect();
        let rows = Arc::new(Rows { table, by_shard });
        // A key that is known to exist is better refused before other shards have written their rows.
        if concerned.len() > 1
            && let Some(refusal) = self.one_that_exists(run, &rows, &concerned).await?
            && !run.was_run(&concerned).await
        {
            return Err(refusal);
        }
        let work: Arc<dyn Work> = rows;
        run.outcome(run.all(&concerned, &work).await)
    }

    async fn one_that_exists(
        &self,
        run: &Run<'_>,
        rows: &Rows,
        concerned: &[usize],
    ) -> Result<Option<StatementError>, StatementError> {
        let mut views = self.views(run, concerned, |shard| Sight::rows(&rows.table, &rows.by_shard[shard]));
        let mut found = None;
        while let Some((shard, view)) = views.next().await {
            let view = view?;
            let table = here(&rows.table, &view)?;
            let exists = |row: &&Vec<Cell>| view.get(&row_key(&table, row)).is_some();
            found = found.or_else(|| rows.by_shard[shard].iter().find(exists).map(|row| rows.refused(row)));
        }
        Ok(found)
    }
}

fn only_an_insert(insert: &Insert) -> Result<(), StatementError> {
    let unsupported = [
        (insert.on.is_some(), "ON CONFLICT"),
        (insert.or.is_some() || insert.ignore || insert.replace_into, "OR"),
        (insert.overwrite, "OVERWRITE"),
        (insert.returning.is_some(), "RETURNING"),
        (insert.partitioned.is_some(), "PARTITION"),
        (!insert.assignments.is_empty(), "SET"),
    ];
    match unsupported.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(StatementError::Invalid(format!("INSERT ... {what} is not supported"))),
        None => Ok(()),
    }
}

/// The positions of the columns that are given, in the order of the values.
fn columns(table: &TableSchema, insert: &Insert) -> Result<Vec<usize>, StatementError> {
    if insert.columns.is_empty() {
        return Ok((0..table.columns.len()).collect());
    }
    let mut positions = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let ident = name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default();
        let position = position(table, &ident)?;
        if positions.contains(&position) {
            return Err(StatementError::Invalid(format!("column {ident} is named twice")));
        }
        positions.push(position);
    }
    Ok(positions)
}

/// Where a table has a column.
pub(super) fn position(table: &TableSchema, column: &str) -> Result<usize, StatementError> {
    let position = table.columns.iter().position(|declared| *declared.name == *column);
    position.ok_or_else(|| StatementError::Invalid(format!("table {} has no column {column}", table.name)))
}

/// The rows of a query that is nothing but VALUES.
fn values(query: &Query) -> Option<&Values> {
    let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
    match (&*query.body, plain && query.fetch.is_none()) {
        (SetExpr::Values(values), true) => Some(values),
        _ => None,
    }
}

fn from_values(
    table: &TableSchema,
    columns: &[usize],
    values: &Values,
    evaluator: &Evaluator,
    spreads: bool,
) -> Result<Vec<Vec<Cell>>, StatementError> {
    let row = |(nth, exprs): (usize, &Vec<Expr>)| {
        if exprs.len() != columns.len() {
            let text = format!("row {} has {} values for {} columns", nth + 1, exprs.len(), columns.len());
            return Err(StatementError::Invalid(text));
        }
        let mut row = vec![Cell::Null; table.columns.len()];
        for (expr, position) in exprs.iter().zip(columns) {
            row[*position] = evaluator.cell(expr, &table.columns[*position])?;
            if spreads && table.key.contains(position) && !evaluator.is_repeatable(expr)? {
                let text = "a numbered statement needs primary keys that are the same when it is retried";
                return Err(StatementError::Invalid(text.into()));
            }
        }
        Ok(row)
    };
    values.rows.iter().map(|row| &row.content).enumerate().map(row).collect()
}

fn from_batches(
    table: &TableSchema,
    columns: &[usize],
    batches: &[RecordBatch],
) -> Result<Vec<Vec<Cell>>, StatementError> {
    let mut rows = Vec::new();
    for batch in batches {
        if batch.num_columns() != columns.len() {
            let text = format!("the query gives {} columns for {}", batch.num_columns(), columns.len());
            return Err(StatementError::Invalid(text));
        }
        let fitted = batch.columns().iter().zip(columns).map(|(array, position)| fit(array, &table.columns[*position]));
        let arrays: Vec<ArrayRef> = fitted.collect::<Result<_, _>>()?;
        for nth in 0..batch.num_rows() {
            let mut row = vec![Cell::Null; table.columns.len()];
            for (array, position) in arrays.iter().zip(columns) {
                row[*position] = cell_at(&**array, nth, table.columns[*position].kind).unwrap_or(Cell::Null);
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// The table as this shard has it: its columns must be those that the statement was worked out with.
pub(super) fn here(table: &TableSchema, view: &KvView) -> Result<Arc<TableSchema>, StatementError> {
    let there = view.table(&table.name);
    let there = there.ok_or_else(|| StatementError::UnknownTable(table.name.to_string()))?;
    if there.columns == table.columns && there.key == table.key {
        Ok(there)
    } else {
        Err(StatementError::Conflict(format!("table {} was declared anew", table.name)))
    }
}

/// That the table is declared as it was when the rows were worked out.
pub(super) fn declared_still(table: &TableSchema, view: &KvView) -> Vec<Check> {
    let key = catalogue_key(&table.name);
    let seen = |digest| Check { key, expect: Expect::Seen(digest) };
    view.declaration(&table.name).map(|declaration| seen(declaration.digest())).into_iter().collect()
}

struct Rows {
    table: Arc<TableSchema>,
    by_shard: Vec<Vec<Vec<Cell>>>,
}

impl Work for Rows {
    fn part(&self, shard: usize, view: &KvView) -> Result<Option<Batch>, StatementError> {
        let table = here(&self.table, view)?;
        let rows = &self.by_shard[shard];
        let new = |row: &Vec<Cell>| Change {
            key: row_key(&table, row),
            expect: Expect::Absent,
            value: Some(encode(&table, row)),
        };
        Ok(Some(Batch {
            statement: 0,
            checks: declared_still(&table, view),
            changes: rows.iter().map(new).collect(),
            rows: rows.len() as u64,
        }))
    }

    fn exists(&self, key: &str) -> StatementError {
        // A shard may have the table under another incarnation, but the rest of the key is the same.
        let key_of = |row: &Vec<Cell>| row_key(&self.table, row);
        let rest = |key: &str| key.splitn(3, ':').nth(2).map(str::to_owned);
        let row = self.by_shard.iter().flatten().find(|row| rest(&key_of(row)) == rest(key));
        match row {
            Some(row) => self.refused(row),
            None => StatementError::Exists(format!("a primary key exists in table {}", self.table.name)),
        }
    }
}

impl Rows {
    fn refused(&self, row: &[Cell]) -> StatementError {
        let key = shard_text(&self.table, row);
        StatementError::Exists(format!("the primary key {key} exists in table {}", self.table.name))
    }
}
