//! What a table's rows look like.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};

/// A table's incarnation: each CREATE TABLE gets its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableId(pub Arc<str>);

/// A table as it was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// Its name.
    pub name: Arc<str>,
    /// Which table of that name.
    pub id: TableId,
    /// Its columns, in the order of their declaration.
    pub columns: Vec<Column>,
    /// The primary key: positions in `columns`, in the key's order.
    pub key: Vec<usize>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// A signed integer of 16 bits.
    Int16,
    /// A signed integer of 32 bits.
    Int32,
    /// A signed integer of 64 bits.
    Int64,
    /// A binary floating-point number of 32 bits.
    Float32,
    /// A binary floating-point number of 64 bits.
    Float64,
    /// A decimal number.
    Decimal {
        /// How many digits in all, at most 38.
        precision: u8,
        /// How many of them after the point.
        scale: i8,
    },
    /// Text.
    Text {
        /// At most so many characters.
        length_max: Option<u32>,
    },
    /// Bytes.
    Binary,
    /// A day.
    Date,
    /// A moment without a time zone, in microseconds.
    Timestamp,
}

impl TableSchema {
    /// The schema of its batches.
    pub fn arrow(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns.iter().map(|column| Field::new(&*column.name, column.kind.arrow(), column.nullable)).collect();
        Arc::new(Schema::new(fields))
    }
}

impl ColumnType {
    /// The type of its arrays.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::Boolean => DataType::Boolean,
            ColumnType::Int16 => DataType::Int16,
            ColumnType::Int32 => DataType::Int32,
            ColumnType::Int64 => DataType::Int64,
            ColumnType::Float32 => DataType::Float32,
            ColumnType::Float64 => DataType::Float64,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale),
            ColumnType::Text { .. } => DataType::Utf8View,
            ColumnType::Binary => DataType::BinaryView,
            ColumnType::Date => DataType::Date32,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }
}
