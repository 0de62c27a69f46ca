//! What CREATE TABLE declares: a name, typed columns, a primary key. What it cannot keep a promise about, it refuses.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    CharacterLength, ColumnDef, ColumnOption, CreateTable, DataType, ExactNumberInfo, Expr, Ident, IndexColumn,
    ObjectName, TableConstraint, TimezoneInfo,
};

use crate::schema::{Column, ColumnType, TableId, TableSchema};

/// How many columns a table has at most.
const COLUMNS_MAX: usize = 1024;

/// The digits of a DECIMAL that says nothing about them, and how many of them come after the point.
const DECIMAL: (u8, i8) = (38, 10);

/// The table that the statement declares, as the incarnation `id`; otherwise what is wrong with the statement.
pub fn declared(statement: &CreateTable, id: TableId) -> Result<TableSchema, String> {
    only_a_table(statement)?;
    let name = table_name(&statement.name)?;
    if statement.columns.is_empty() {
        return Err(format!("table {name} has no columns"));
    }
    if statement.columns.len() > COLUMNS_MAX {
        return Err(format!("a table has at most {COLUMNS_MAX} columns, not {}", statement.columns.len()));
    }
    let mut columns: Vec<Column> = Vec::with_capacity(statement.columns.len());
    let mut key = None;
    for declaration in &statement.columns {
        let (column, is_key) = column(declaration)?;
        if columns.iter().any(|earlier| earlier.name == column.name) {
            return Err(format!("column {} is declared twice", column.name));
        }
        if is_key && key.replace(vec![columns.len()]).is_some() {
            return Err("there is more than one PRIMARY KEY; one of several columns is declared after them".into());
        }
        columns.push(column);
    }
    for constraint in &statement.constraints {
        let TableConstraint::PrimaryKey(constraint) = constraint else {
            return Err(format!("the constraint {constraint} is not supported"));
        };
        if key.replace(key_columns(&constraint.columns, &columns)?).is_some() {
            return Err("there is more than one PRIMARY KEY".into());
        }
    }
    let key = key.ok_or_else(|| format!("table {name} needs a PRIMARY KEY"))?;
    for position in &key {
        columns[*position].nullable = false;
    }
    Ok(TableSchema { name, id, columns, key })
}

/// A table's name as statements give it: one identifier, of small letters unless it is quoted.
pub fn table_name(name: &ObjectName) -> Result<Arc<str>, String> {
    match name.0.as_slice() {
        [part] => part.as_ident().map(identifier).ok_or_else(|| format!("{name} is not the name of a table")),
        _ => Err(format!("{name}: a table's name has one part")),
    }
}

/// An identifier as it is meant: of small letters unless it is quoted.
pub fn identifier(ident: &Ident) -> Arc<str> {
    match ident.quote_style {
        Some(_) => ident.value.as_str().into(),
        None => ident.value.to_lowercase().into(),
    }
}

fn only_a_table(statement: &CreateTable) -> Result<(), String> {
    let unsupported = [
        (statement.or_replace, "OR REPLACE"),
        (statement.temporary, "TEMPORARY"),
        (statement.external, "EXTERNAL"),
        (statement.query.is_some(), "AS SELECT"),
        (statement.like.is_some(), "LIKE"),
        (statement.clone.is_some(), "CLONE"),
        (statement.inherits.is_some(), "INHERITS"),
        (statement.partition_by.is_some() || statement.partition_of.is_some(), "PARTITION"),
    ];
    match unsupported.iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(format!("CREATE TABLE ... {what} is not supported")),
        None => Ok(()),
    }
}

/// A column, and whether it says to be the primary key.
fn column(declaration: &ColumnDef) -> Result<(Column, bool), String> {
    let name = identifier(&declaration.name);
    let kind = kind(&declaration.data_type).map_err(|problem| format!("column {name}: {problem}"))?;
    let (mut nullable, mut is_key) = (true, false);
    for option in &declaration.options {
        match &option.option {
            ColumnOption::Null => nullable = true,
            ColumnOption::NotNull => nullable = false,
            ColumnOption::PrimaryKey(_) => is_key = true,
            ColumnOption::Comment(_) => {}
            other => return Err(format!("column {name}: {other} is not supported")),
        }
    }
    Ok((Column { name, kind, nullable }, is_key))
}

fn key_columns(named: &[IndexColumn], columns: &[Column]) -> Result<Vec<usize>, String> {
    let mut key = Vec::with_capacity(named.len());
    for column in named {
        let Expr::Identifier(ident) = &column.column.expr else {
            return Err(format!("PRIMARY KEY: {column} is not a column"));
        };
        let name = identifier(ident);
        let position = columns.iter().position(|column| column.name == name);
        let position = position.ok_or_else(|| format!("PRIMARY KEY: there is no column {name}"))?;
        if key.contains(&position) {
            return Err(format!("PRIMARY KEY: column {name} is named twice"));
        }
        key.push(position);
    }
    if key.is_empty() { Err("PRIMARY KEY: no column is named".into()) } else { Ok(key) }
}

fn kind(declared: &DataType) -> Result<ColumnType, String> {
    let text = |length_max| ColumnType::Text { length_max };
    Ok(match declared {
        DataType::Boolean | DataType::Bool => ColumnType::Boolean,
        DataType::TinyInt(_) | DataType::SmallInt(_) | DataType::Int2(_) => ColumnType::Int16,
        DataType::MediumInt(_) | DataType::Int(_) | DataType::Int4(_) | DataType::Integer(_) => ColumnType::Int32,
        DataType::BigInt(_) | DataType::Int8(_) | DataType::Int64 => ColumnType::Int64,
        DataType::Real | DataType::Float4 | DataType::Float32 => ColumnType::Float32,
        DataType::Float(ExactNumberInfo::Precision(1..=24)) => ColumnType::Float32,
        DataType::Float(_) | DataType::Float8 | DataType::Float64 => ColumnType::Float64,
        DataType::Double(_) | DataType::DoublePrecision => ColumnType::Float64,
        DataType::Numeric(digits) | DataType::Decimal(digits) | DataType::Dec(digits) => decimal(digits)?,
        DataType::Text | DataType::TinyText | DataType::MediumText | DataType::LongText => text(None),
        DataType::String(None) => text(None),
        DataType::String(Some(length)) => text(Some(characters(*length)?)),
        DataType::Varchar(length) | DataType::CharVarying(length) | DataType::CharacterVarying(length) => {
            text(of_length(length)?)
        }
        DataType::Nvarchar(length) => text(of_length(length)?),
        // Not padded: a CHAR(n) is a VARCHAR(n).
        DataType::Char(length) | DataType::Character(length) => text(Some(of_length(length)?.unwrap_or(1))),
        DataType::Bytea | DataType::Blob(_) | DataType::Bytes(_) | DataType::Varbinary(_) => ColumnType::Binary,
        DataType::Binary(None) | DataType::LongBlob | DataType::MediumBlob | DataType::TinyBlob => ColumnType::Binary,
        DataType::Date | DataType::Date32 => ColumnType::Date,
        DataType::Timestamp(None | Some(0..=6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            ColumnType::Timestamp
        }
        DataType::Datetime(None | Some(0..=6)) => ColumnType::Timestamp,
        other => return Err(format!("the type {other} is not supported")),
    })
}

fn decimal(digits: &ExactNumberInfo) -> Result<ColumnType, String> {
    let (precision, scale) = match *digits {
        ExactNumberInfo::None => (u64::from(DECIMAL.0), i64::from(DECIMAL.1)),
        ExactNumberInfo::Precision(precision) => (precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (precision, scale),
    };
    let fits = (1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision;
    let (Ok(precision), Ok(scale), true) = (u8::try_from(precision), i8::try_from(scale), fits) else {
        return Err(format!("DECIMAL({precision},{scale}): at most 38 digits, and no more of them after the point"));
    };
    Ok(ColumnType::Decimal { precision, scale })
}

fn of_length(length: &Option<CharacterLength>) -> Result<Option<u32>, String> {
    match length {
        None | Some(CharacterLength::Max) => Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => characters(*length).map(Some),
    }
}

fn characters(length: u64) -> Result<u32, String> {
    u32::try_from(length).ok().filter(|length| *length > 0).ok_or_else(|| format!("no text has a length of {length}"))
}
