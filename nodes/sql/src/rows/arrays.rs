//! Rows as Arrow batches: decoded from their texts column by column, and single cells back out of them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BinaryViewBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringViewBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{
    Date32Type, Decimal128Type, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type, SchemaRef,
    TimestampMicrosecondType,
};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use quorate_statemachines::kv::Json;

use super::cell::Cell;
use super::text::{Damaged, Element, Elements};
use crate::schema::{ColumnType, TableSchema};

/// The rows of `texts` as one batch.
pub fn decode<'a>(
    table: &TableSchema,
    schema: &SchemaRef,
    texts: impl IntoIterator<Item = &'a Json>,
) -> Result<RecordBatch, Damaged> {
    let damaged = |what| Damaged { table: table.name.to_string(), what };
    let mut builders: Vec<Builder> = table.columns.iter().map(|column| Builder::new(column.kind)).collect();
    let mut rows = 0;
    for text in texts {
        let mut elements = Elements::of(text.text()).ok_or_else(|| damaged("no array"))?;
        for builder in &mut builders {
            let element = elements.next().ok_or_else(|| damaged("too short"))?;
            builder.push(&element).ok_or_else(|| damaged("a value of another type"))?;
        }
        if !elements.is_over() {
            return Err(damaged("too long"));
        }
        rows += 1;
    }
    batch(schema, builders.into_iter().map(Builder::finish).collect(), rows)
        .map_err(|_| damaged("a NULL where none can be"))
}

/// Rows of cells as one batch.
pub fn batch_of(table: &TableSchema, rows: &[Vec<Cell>]) -> Result<RecordBatch, ArrowError> {
    let mut builders: Vec<Builder> = table.columns.iter().map(|column| Builder::new(column.kind)).collect();
    for row in rows {
        for (builder, cell) in builders.iter_mut().zip(row) {
            if !builder.push_cell(cell) {
                return Err(ArrowError::SchemaError("a cell of another type than its column".into()));
            }
        }
    }
    batch(&table.arrow(), builders.into_iter().map(Builder::finish).collect(), rows.len())
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// The cell at `row` of an array that has the type of such a column; `None` when it has another.
pub fn cell_at(array: &dyn Array, row: usize, kind: ColumnType) -> Option<Cell> {
    if row >= array.len() || *array.data_type() != kind.arrow() {
        return None;
    }
    if array.is_null(row) {
        return Some(Cell::Null);
    }
    Some(match kind {
        ColumnType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        ColumnType::Int16 => Cell::Int(array.as_primitive::<Int16Type>().value(row).into()),
        ColumnType::Int32 => Cell::Int(array.as_primitive::<Int32Type>().value(row).into()),
        ColumnType::Int64 => Cell::Int(array.as_primitive::<Int64Type>().value(row)),
        ColumnType::Float32 => Cell::Float32(array.as_primitive::<Float32Type>().value(row)),
        ColumnType::Float64 => Cell::Float64(array.as_primitive::<Float64Type>().value(row)),
        ColumnType::Decimal { .. } => Cell::Decimal(array.as_primitive::<Decimal128Type>().value(row)),
        ColumnType::Text { .. } => Cell::Text(array.as_string_view().value(row).to_owned()),
        ColumnType::Binary => Cell::Binary(array.as_binary_view().value(row).to_owned()),
        ColumnType::Date => Cell::Int(array.as_primitive::<Date32Type>().value(row).into()),
        ColumnType::Timestamp => Cell::Int(array.as_primitive::<TimestampMicrosecondType>().value(row)),
    })
}

/// The cells of one row of a table's batch.
pub fn row_at(table: &TableSchema, batch: &RecordBatch, row: usize) -> Option<Vec<Cell>> {
    let cells = table.columns.iter().zip(batch.columns());
    cells.map(|(column, array)| cell_at(array, row, column.kind)).collect()
}

enum Builder {
    Boolean(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float32(Float32Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder, u8, i8),
    Text(StringViewBuilder),
    Binary(BinaryViewBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Boolean => Builder::Boolean(BooleanBuilder::new()),
            ColumnType::Int16 => Builder::Int16(Int16Builder::new()),
            ColumnType::Int32 => Builder::Int32(Int32Builder::new()),
            ColumnType::Int64 => Builder::Int64(Int64Builder::new()),
            ColumnType::Float32 => Builder::Float32(Float32Builder::new()),
            ColumnType::Float64 => Builder::Float64(Float64Builder::new()),
            ColumnType::Decimal { precision, scale } => {
                Builder::Decimal(Decimal128Builder::new().with_data_type(kind.arrow()), precision, scale)
            }
            ColumnType::Text { .. } => Builder::Text(StringViewBuilder::new()),
            ColumnType::Binary => Builder::Binary(BinaryViewBuilder::new()),
            ColumnType::Date => Builder::Date(Date32Builder::new()),
            ColumnType::Timestamp => Builder::Timestamp(TimestampMicrosecondBuilder::new()),
        }
    }

    /// `None` when the element is of another type.
    fn push(&mut self, element: &Element<'_>) -> Option<()> {
        if element.is_null() {
            self.push_cell(&Cell::Null);
            return Some(());
        }
        match self {
            Builder::Boolean(builder) => builder.append_value(element.token()?.parse().ok()?),
            Builder::Int16(builder) => builder.append_value(element.token()?.parse().ok()?),
            Builder::Int32(builder) => builder.append_value(element.token()?.parse().ok()?),
            Builder::Int64(builder) => builder.append_value(element.token()?.parse().ok()?),
            Builder::Float32(builder) => builder.append_value(element.float()?.parse().ok()?),
            Builder::Float64(builder) => builder.append_value(element.float()?.parse().ok()?),
            Builder::Decimal(builder, _, scale) => builder.append_value(element.decimal(*scale)?),
            Builder::Text(builder) => builder.append_value(element.string()?),
            Builder::Binary(builder) => builder.append_value(element.bytes()?),
            Builder::Date(builder) => builder.append_value(element.token()?.parse().ok()?),
            Builder::Timestamp(builder) => builder.append_value(element.token()?.parse().ok()?),
        }
        Some(())
    }

    /// Whether the cell is of the builder's type.
    fn push_cell(&mut self, cell: &Cell) -> bool {
        match (self, cell) {
            (Builder::Boolean(builder), Cell::Null) => builder.append_null(),
            (Builder::Int16(builder), Cell::Null) => builder.append_null(),
            (Builder::Int32(builder), Cell::Null) => builder.append_null(),
            (Builder::Int64(builder), Cell::Null) => builder.append_null(),
            (Builder::Float32(builder), Cell::Null) => builder.append_null(),
            (Builder::Float64(builder), Cell::Null) => builder.append_null(),
            (Builder::Decimal(builder, ..), Cell::Null) => builder.append_null(),
            (Builder::Text(builder), Cell::Null) => builder.append_null(),
            (Builder::Binary(builder), Cell::Null) => builder.append_null(),
            (Builder::Date(builder), Cell::Null) => builder.append_null(),
            (Builder::Timestamp(builder), Cell::Null) => builder.append_null(),
            (Builder::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Builder::Int16(builder), Cell::Int(number)) => match i16::try_from(*number) {
                Ok(number) => builder.append_value(number),
                Err(_) => return false,
            },
            (Builder::Int32(builder), Cell::Int(number)) => match i32::try_from(*number) {
                Ok(number) => builder.append_value(number),
                Err(_) => return false,
            },
            (Builder::Date(builder), Cell::Int(number)) => match i32::try_from(*number) {
                Ok(number) => builder.append_value(number),
                Err(_) => return false,
            },
            (Builder::Int64(builder), Cell::Int(number)) => builder.append_value(*number),
            (Builder::Timestamp(builder), Cell::Int(number)) => builder.append_value(*number),
            (Builder::Float32(builder), Cell::Float32(number)) => builder.append_value(*number),
            (Builder::Float64(builder), Cell::Float64(number)) => builder.append_value(*number),
            (Builder::Decimal(builder, ..), Cell::Decimal(number)) => builder.append_value(*number),
            (Builder::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Builder::Binary(builder), Cell::Binary(bytes)) => builder.append_value(bytes),
            _ => return false,
        }
        true
    }

    fn finish(self) -> ArrayRef {
        match self {
            Builder::Boolean(mut builder) => Arc::new(builder.finish()),
            Builder::Int16(mut builder) => Arc::new(builder.finish()),
            Builder::Int32(mut builder) => Arc::new(builder.finish()),
            Builder::Int64(mut builder) => Arc::new(builder.finish()),
            Builder::Float32(mut builder) => Arc::new(builder.finish()),
            Builder::Float64(mut builder) => Arc::new(builder.finish()),
            Builder::Decimal(mut builder, precision, scale) => {
                let array = builder.finish();
                // The builder's own type was checked when the column was declared.
                Arc::new(array.clone().with_precision_and_scale(precision, scale).unwrap_or(array))
            }
            Builder::Text(mut builder) => Arc::new(builder.finish()),
            Builder::Binary(mut builder) => Arc::new(builder.finish()),
            Builder::Date(mut builder) => Arc::new(builder.finish()),
            Builder::Timestamp(mut builder) => Arc::new(builder.finish()),
        }
    }
}
