//! The rows of the tests: with NULLs, duplicates, one shard that has nearly all of a table, tables of no rows.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray,
    TimestampMicrosecondArray, UInt32Array,
};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use quorate_sql::schema::{Column, ColumnType, TableId, TableSchema};
use quorate_statemachines::slot::shard_of;

use crate::memory::MemoryShard;

pub(crate) struct Table {
    pub(crate) schema: Arc<TableSchema>,
    pub(crate) rows: RecordBatch,
    /// The text of each row's primary key.
    keys: Vec<String>,
}

fn table(name: &str, columns: &[(&str, ColumnType, bool)], arrays: Vec<ArrayRef>, keys: Vec<String>) -> Table {
    let column = |(name, kind, nullable): &(&str, ColumnType, bool)| Column {
        name: (*name).into(),
        kind: *kind,
        nullable: *nullable,
    };
    let schema = TableSchema {
        name: name.into(),
        id: TableId(name.into()),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    };
    let rows = RecordBatch::try_new(schema.arrow(), arrays).expect("columns and arrays agree");
    Table { schema: Arc::new(schema), rows, keys }
}

const TEXT: ColumnType = ColumnType::Text { length_max: None };

pub(crate) const USERS: i64 = 200;
pub(crate) const ORDERS: i64 = 500;
pub(crate) const EVENTS: i64 = 120;

/// All tables.
pub(crate) fn tables() -> Vec<Table> {
    vec![users(), profiles(), orders(), events(), countries(), nothing()]
}

/// Each seventh city and each fifth age is NULL; names repeat.
fn users() -> Table {
    let ids: Vec<i64> = (1..=USERS).collect();
    let city = |id: i64| (id % 7 != 0).then(|| ["Oslo", "Bern", "Rome", "Lima"][(id % 4) as usize]);
    table(
        "users",
        &[
            ("id", ColumnType::Int64, false),
            ("name", TEXT, true),
            ("city", TEXT, true),
            ("age", ColumnType::Int32, true),
            ("score", ColumnType::Float64, true),
            ("balance", ColumnType::Decimal { precision: 12, scale: 2 }, true),
            ("active", ColumnType::Boolean, true),
            ("joined", ColumnType::Date, true),
            ("seen", ColumnType::Timestamp, true),
        ],
        vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringViewArray::from_iter(ids.iter().map(|id| Some(format!("name of user {:03}", id % 50))))),
            Arc::new(StringViewArray::from_iter(ids.iter().map(|id| city(*id)))),
            Arc::new(Int32Array::from_iter(ids.iter().map(|id| (id % 5 != 0).then_some((id % 60) as i32)))),
            Arc::new(Float64Array::from_iter(ids.iter().map(|id| (id % 11 != 0).then_some((id % 40) as f64 / 4.0)))),
            Arc::new(
                Decimal128Array::from_iter(ids.iter().map(|id| (id % 13 != 0).then_some(i128::from(id * 125 - 9000))))
                    .with_precision_and_scale(12, 2)
                    .expect("it fits"),
            ),
            Arc::new(BooleanArray::from_iter(ids.iter().map(|id| (id % 9 != 0).then_some(id % 2 == 0)))),
            Arc::new(Date32Array::from_iter(ids.iter().map(|id| (id % 8 != 0).then_some(18_000 + (id % 90) as i32)))),
            Arc::new(TimestampMicrosecondArray::from_iter(
                ids.iter().map(|id| (id % 6 != 0).then_some(1_600_000_000_000_000 + id * 1_234_567)),
            )),
        ],
        ids.iter().map(i64::to_string).collect(),
    )
}

/// One for each second user: rows of both lie together.
fn profiles() -> Table {
    let ids: Vec<i64> = (1..=USERS).filter(|id| id % 2 == 0).collect();
    table(
        "profiles",
        &[("id", ColumnType::Int64, false), ("bio", TEXT, true), ("followers", ColumnType::Int64, false)],
        vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringViewArray::from_iter(
                ids.iter().map(|id| (id % 3 != 0).then(|| format!("bio {}", id % 10))),
            )),
            Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| (id * 37) % 100))),
        ],
        ids.iter().map(i64::to_string).collect(),
    )
}

/// Some of users that do not exist, some of nobody.
fn orders() -> Table {
    let ids: Vec<i64> = (1..=ORDERS).collect();
    table(
        "orders",
        &[
            ("id", ColumnType::Int64, false),
            ("user_id", ColumnType::Int64, true),
            ("country", TEXT, true),
            ("amount", ColumnType::Float64, false),
            ("quantity", ColumnType::Int16, false),
        ],
        vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(Int64Array::from_iter(ids.iter().map(|id| (id % 10 != 0).then_some((id * 7) % 230 + 1)))),
            Arc::new(StringViewArray::from_iter(
                ids.iter().map(|id| Some(["no", "ch", "it", "xx"][(id % 4) as usize])),
            )),
            Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| (id % 64) as f64 / 2.0))),
            Arc::new(datafusion::arrow::array::Int16Array::from_iter_values(ids.iter().map(|id| (id % 5) as i16))),
        ],
        ids.iter().map(i64::to_string).collect(),
    )
}

/// Nine of ten lie on one shard.
fn events() -> Table {
    let ids: Vec<i64> = (0..EVENTS).collect();
    let key = |id: &i64| if id % 10 == 0 { format!("cold{id}") } else { format!("{{hot}}{id}") };
    let keys: Vec<String> = ids.iter().map(key).collect();
    table(
        "events",
        &[("id", TEXT, false), ("kind", TEXT, false), ("value", ColumnType::Int64, true)],
        vec![
            Arc::new(StringViewArray::from_iter_values(&keys)),
            Arc::new(StringViewArray::from_iter_values(ids.iter().map(|id| ["click", "view"][(id % 2) as usize]))),
            Arc::new(Int64Array::from_iter(
                ids.iter().map(|id| (id % 3 != 0).then_some(9_007_199_254_740_993 - id % 4)),
            )),
        ],
        keys,
    )
}

/// So few that some shards have none.
fn countries() -> Table {
    let codes = ["no", "ch", "it"];
    table(
        "countries",
        &[("code", TEXT, false), ("country", TEXT, false)],
        vec![
            Arc::new(StringViewArray::from_iter_values(codes)),
            Arc::new(StringViewArray::from_iter_values(["Norway", "Switzerland", "Italy"])),
        ],
        codes.iter().map(|code| (*code).to_owned()).collect(),
    )
}

fn nothing() -> Table {
    let columns = [("id", ColumnType::Int64, false), ("note", TEXT, true)];
    let arrays: Vec<ArrayRef> =
        vec![Arc::new(Int64Array::from(Vec::<i64>::new())), Arc::new(StringViewArray::from(Vec::<&str>::new()))];
    table("nothing", &columns, arrays, Vec::new())
}

impl Table {
    /// The rows of each of so many shards.
    pub(crate) fn split(&self, shards: usize) -> Vec<RecordBatch> {
        let shard = |key: &String| shard_of(key, shards as u32).0 as usize;
        let of = |number: usize| {
            let rows = (0..self.keys.len()).filter(|row| shard(&self.keys[*row]) == number);
            let rows: UInt32Array = rows.map(|row| row as u32).collect();
            take_record_batch(&self.rows, &rows).expect("the rows are there")
        };
        (0..shards).map(of).collect()
    }
}

/// The tables on so many shards, in batches of a few rows.
pub(crate) fn shards(count: usize) -> Vec<Arc<MemoryShard>> {
    const ROWS: usize = 16;
    let tables: Vec<_> = tables().into_iter().map(|table| (table.schema.clone(), table.split(count))).collect();
    let shard = |number: usize| {
        MemoryShard::new(tables.iter().map(|(schema, split)| {
            let rows = &split[number];
            let batch = |at: usize| rows.slice(at, ROWS.min(rows.num_rows() - at));
            (schema.clone(), (0..rows.num_rows()).step_by(ROWS).map(batch).collect())
        }))
    };
    (0..count).map(shard).collect()
}
