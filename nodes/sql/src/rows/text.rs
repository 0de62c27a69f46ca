//! A row as the text of a JSON array, one element for each column, exact for every type.
//!
//! Integers, dates and timestamps are JSON integers; a finite float is the shortest number that reads back as itself, any
//! other is `"NaN"`, `"inf"` or `"-inf"`; a decimal is a string with its point; bytes are a string of hexadecimal digits.

use std::fmt::Write;

use quorate_statemachines::kv::Json;

use super::cell::{Cell, WithPoint};
use super::keys::hex;
use crate::schema::{ColumnType, TableSchema};

/// A stored row that is not what its table declares.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of table {table} is damaged: {what}")]
pub struct Damaged {
    /// The table.
    pub table: String,
    /// What is wrong.
    pub what: &'static str,
}

/// A row's text.
pub fn encode(table: &TableSchema, row: &[Cell]) -> Json {
    let mut text = String::with_capacity(16 * row.len());
    text.push('[');
    for (nth, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
        if nth > 0 {
            text.push(',');
        }
        push(&mut text, cell, column.kind);
    }
    text.push(']');
    Json::made(text)
}

fn push(text: &mut String, cell: &Cell, kind: ColumnType) {
    let written = match (cell, kind) {
        (Cell::Null, _) => write!(text, "null"),
        (Cell::Boolean(value), _) => write!(text, "{value}"),
        (Cell::Int(number), _) => write!(text, "{number}"),
        (Cell::Float32(number), _) if number.is_finite() => write!(text, "{number:?}"),
        (Cell::Float64(number), _) if number.is_finite() => write!(text, "{number:?}"),
        (Cell::Float32(number), _) => write!(text, "\"{number:?}\""),
        (Cell::Float64(number), _) => write!(text, "\"{number:?}\""),
        (Cell::Decimal(number), ColumnType::Decimal { scale, .. }) => {
            write!(text, "\"{}\"", WithPoint(*number, scale))
        }
        (Cell::Decimal(number), _) => write!(text, "\"{number}\""),
        (Cell::Binary(bytes), _) => write!(text, "\"{}\"", hex(bytes)),
        (Cell::Text(value), _) => match serde_json::to_string(value) {
            Ok(quoted) => write!(text, "{quoted}"),
            Err(_) => write!(text, "\"\""),
        },
    };
    debug_assert!(written.is_ok());
}

/// Reads a row from left to right, one element for each column.
pub(super) struct Elements<'a> {
    rest: &'a str,
}

/// One element of a row: a token, or a string without its quotes.
pub(super) enum Element<'a> {
    Token(&'a str),
    /// A string in which nothing is escaped.
    Plain(&'a str),
    Escaped(String),
}

impl<'a> Elements<'a> {
    pub(super) fn of(text: &'a str) -> Option<Self> {
        Some(Elements { rest: text.strip_prefix('[')?.strip_suffix(']')? })
    }

    pub(super) fn next(&mut self) -> Option<Element<'a>> {
        let element = if let Some(inside) = self.rest.strip_prefix('"') {
            let end = string_end(inside)?;
            let (string, rest) = (&inside[..end], &inside[end + 1..]);
            let quoted = &self.rest[..end + 2];
            self.rest = rest;
            if string.contains('\\') {
                Element::Escaped(serde_json::from_str(quoted).ok()?)
            } else {
                Element::Plain(string)
            }
        } else {
            let end = self.rest.find(',').unwrap_or(self.rest.len());
            let token = &self.rest[..end];
            self.rest = &self.rest[end..];
            (!token.is_empty()).then_some(Element::Token(token))?
        };
        self.rest = match self.rest.strip_prefix(',') {
            Some(rest) if !rest.is_empty() => rest,
            None if self.rest.is_empty() => self.rest,
            _ => return None,
        };
        Some(element)
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Where a string ends of which the opening quote was read.
fn string_end(inside: &str) -> Option<usize> {
    let mut escaped = false;
    inside.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

impl Element<'_> {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Element::Token("null"))
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Element::Token(token) => Some(token),
            _ => None,
        }
    }

    pub(super) fn string(&self) -> Option<&str> {
        match self {
            Element::Token(_) => None,
            Element::Plain(string) => Some(string),
            Element::Escaped(string) => Some(string),
        }
    }

    /// A float: a number, or one of the words for what is none.
    pub(super) fn float(&self) -> Option<&str> {
        match self {
            Element::Token(number) => Some(number),
            Element::Plain(word @ ("NaN" | "inf" | "-inf")) => Some(word),
            _ => None,
        }
    }

    /// A decimal of exactly `scale` digits after the point, without it.
    pub(super) fn decimal(&self, scale: i8) -> Option<i128> {
        let text = self.string()?;
        let scale = usize::from(scale.unsigned_abs());
        if scale == 0 {
            return text.parse().ok();
        }
        let (whole, rest) = text.split_once('.')?;
        if rest.len() != scale || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let magnitude: i128 = rest.parse().ok()?;
        let whole_number: i128 = whole.parse().ok()?;
        let shifted = whole_number.checked_mul(10i128.checked_pow(scale as u32)?)?;
        if whole.starts_with('-') { shifted.checked_sub(magnitude) } else { shifted.checked_add(magnitude) }
    }

    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let text = self.string()?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?);
        text.chunks(2).map(pair).collect()
    }
}
