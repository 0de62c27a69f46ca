//! One value of one column.

use std::fmt;

use crate::schema::{Column, ColumnType};

/// A value, of the type that its column declares.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Of a boolean column.
    Boolean(bool),
    /// Of an integer column; the days of a date since 1970, the microseconds of a timestamp since then.
    Int(i64),
    /// Of a column of 32-bit floats.
    Float32(f32),
    /// Of a column of 64-bit floats.
    Float64(f64),
    /// Of a decimal column: the number without its point.
    Decimal(i128),
    /// Of a text column.
    Text(String),
    /// Of a binary column.
    Binary(Vec<u8>),
}

impl Cell {
    /// Whether it is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// Whether a column can hold it; otherwise why not.
    pub fn check(&self, column: &Column) -> Result<(), Unfit> {
        let name = || column.name.to_string();
        match (self, column.kind) {
            (Cell::Null, _) if column.nullable => Ok(()),
            (Cell::Null, _) => Err(Unfit::Null(name())),
            (Cell::Text(text), ColumnType::Text { length_max: Some(max) }) => {
                let length = text.chars().count();
                if length as u64 > u64::from(max) {
                    Err(Unfit::TooLong { column: name(), length, max })
                } else {
                    Ok(())
                }
            }
            _ => Ok(()),
        }
    }

    /// As it counts in a key: numbers that compare as equal are one key.
    pub(super) fn in_key(&self) -> Cell {
        match self {
            Cell::Float32(number) if *number == 0.0 => Cell::Float32(0.0),
            Cell::Float64(number) if *number == 0.0 => Cell::Float64(0.0),
            Cell::Float32(number) if number.is_nan() => Cell::Float32(f32::NAN),
            Cell::Float64(number) if number.is_nan() => Cell::Float64(f64::NAN),
            other => other.clone(),
        }
    }
}

/// Why a column cannot hold a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is NULL.
    #[error("column {0} cannot be NULL")]
    Null(String),
    /// It is too long a text.
    #[error("column {column} holds at most {max} characters, not {length}")]
    TooLong {
        /// The column.
        column: String,
        /// How many characters there are.
        length: usize,
        /// How many there may be.
        max: u32,
    },
}

/// A decimal with its point.
pub(super) struct WithPoint(pub(super) i128, pub(super) i8);

impl fmt::Display for WithPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WithPoint(number, scale) = *self;
        let scale = usize::from(scale.unsigned_abs());
        let digits = format!("{:0width$}", number.unsigned_abs(), width = scale + 1);
        let sign = if number < 0 { "-" } else { "" };
        let (whole, rest) = digits.split_at(digits.len() - scale);
        if scale == 0 { write!(f, "{sign}{whole}") } else { write!(f, "{sign}{whole}.{rest}") }
    }
}
