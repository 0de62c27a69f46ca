//! A row's key in the store: its text sorts as the primary key does.
//!
//! Layout: `c:<table>` holds a table's declaration, `t:<incarnation>:<key>` its rows, `d:<incarnation>` stands for a table
//! that was dropped and of which rows may be left. In `<key>` a number has a fixed width; a text ends with two NULs unless
//! it is the last, and a NUL within it is followed by U+0001.

use std::fmt::Write;
use std::sync::Arc;

use super::cell::{Cell, WithPoint};
use crate::schema::{ColumnType, TableId, TableSchema};

/// What all declarations begin with.
pub const CATALOGUE: &str = "c:";

/// What all markers of dropped tables begin with.
pub const DROPPED: &str = "d:";

/// The key of a table's declaration.
pub fn catalogue_key(table: &str) -> Arc<str> {
    format!("{CATALOGUE}{table}").into()
}

/// The key of the marker of a dropped table.
pub fn dropped_key(id: &TableId) -> Arc<str> {
    format!("{DROPPED}{}", id.0).into()
}

/// What the keys of a table's rows begin with.
pub fn rows_prefix(id: &TableId) -> String {
    format!("t:{}:", id.0)
}

/// The key of a row, of which the cells of the primary key are not NULL.
pub fn row_key(table: &TableSchema, row: &[Cell]) -> Arc<str> {
    let mut text = rows_prefix(&table.id);
    let last = table.key.len().saturating_sub(1);
    for (nth, position) in table.key.iter().enumerate() {
        push(&mut text, &row[*position].in_key(), nth == last);
    }
    text.into()
}

/// The text of a row's primary key, which decides on its shard: that of its only cell, or a JSON array of several.
pub fn shard_text(table: &TableSchema, row: &[Cell]) -> String {
    let plain = |position: &usize| plain(&row[*position].in_key(), table.columns[*position].kind);
    match table.key.as_slice() {
        [position] => match &row[*position] {
            Cell::Text(text) => text.clone(),
            _ => plain(position),
        },
        positions => {
            let elements: Vec<String> = positions
                .iter()
                .map(|position| match &row[*position] {
                    Cell::Boolean(_) | Cell::Int(_) => plain(position),
                    Cell::Float32(number) if number.is_finite() => plain(position),
                    Cell::Float64(number) if number.is_finite() => plain(position),
                    _ => serde_json::Value::String(plain(position)).to_string(),
                })
                .collect();
            format!("[{}]", elements.join(","))
        }
    }
}

fn plain(cell: &Cell, kind: ColumnType) -> String {
    match cell {
        Cell::Null => "null".into(),
        Cell::Boolean(value) => value.to_string(),
        Cell::Int(number) => number.to_string(),
        Cell::Float32(number) => format!("{number:?}"),
        Cell::Float64(number) => format!("{number:?}"),
        Cell::Decimal(number) => match kind {
            ColumnType::Decimal { scale, .. } => WithPoint(*number, scale).to_string(),
            _ => number.to_string(),
        },
        Cell::Text(text) => text.clone(),
        Cell::Binary(bytes) => hex(bytes),
    }
}

fn push(key: &mut String, cell: &Cell, is_last: bool) {
    let written = match cell {
        Cell::Null => Ok(()),
        Cell::Boolean(value) => write!(key, "{}", u8::from(*value)),
        Cell::Int(number) => write!(key, "{:016x}", *number as u64 ^ (1 << 63)),
        Cell::Float32(number) => write!(key, "{:08x}", ordered(u64::from(number.to_bits()), 31)),
        Cell::Float64(number) => write!(key, "{:016x}", ordered(number.to_bits(), 63)),
        Cell::Decimal(number) => write!(key, "{:032x}", *number as u128 ^ (1 << 127)),
        Cell::Text(text) => return push_text(key, text, is_last),
        Cell::Binary(bytes) => return push_text(key, &hex(bytes), is_last),
    };
    // Writing to a string does not fail.
    debug_assert!(written.is_ok());
}

fn push_text(key: &mut String, text: &str, is_last: bool) {
    if is_last {
        key.push_str(text);
        return;
    }
    for char in text.chars() {
        key.push(char);
        if char == '\0' {
            key.push('\u{1}');
        }
    }
    key.push_str("\0\0");
}

/// A float's bits, of which `sign` is the highest, such that they sort like the numbers: negative ones the other way round.
fn ordered(bits: u64, sign: u32) -> u64 {
    let all = u64::MAX >> (63 - sign);
    if bits >> sign == 1 { !bits & all } else { bits | (1 << sign) }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}
