//! One value as JSON.

use std::io::Write;

use datafusion::arrow::array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray};
use datafusion::arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use datafusion::arrow::util::display::{ArrayFormatter, DurationFormat, FormatOptions};
use datafusion::common::Result;

use super::names::distinct;

/// Writes the value of a row.
pub(super) type Writer<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a>;

/// A text as JSON.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quote(text, &mut quoted);
    quoted
}

fn quote(text: &str, out: &mut Vec<u8>) {
    // Text is always JSON, and memory always takes it.
    let _ = serde_json::to_writer(out, text);
}

/// What writes the values of `array`.
pub(super) fn writer(array: &dyn Array) -> Result<Writer<'_>> {
    let of_value: Writer<'_> = match array.data_type() {
        DataType::Null => return Ok(Box::new(|_, out| put(out, "null"))),
        DataType::Boolean => {
            let array = array.as_boolean();
            Box::new(|row, out| put(out, if array.value(row) { "true" } else { "false" }))
        }
        DataType::Int8 => number::<Int8Type>(array, |value, out| put(out, value)),
        DataType::Int16 => number::<Int16Type>(array, |value, out| put(out, value)),
        DataType::Int32 => number::<Int32Type>(array, |value, out| put(out, value)),
        DataType::Int64 => number::<Int64Type>(array, |value, out| put(out, value)),
        DataType::UInt8 => number::<UInt8Type>(array, |value, out| put(out, value)),
        DataType::UInt16 => number::<UInt16Type>(array, |value, out| put(out, value)),
        DataType::UInt32 => number::<UInt32Type>(array, |value, out| put(out, value)),
        DataType::UInt64 => number::<UInt64Type>(array, |value, out| put(out, value)),
        DataType::Float16 => {
            number::<Float16Type>(array, |value, out| float(f64::from(value), format!("{value}"), out))
        }
        DataType::Float32 => number::<Float32Type>(array, |value, out| float(value.into(), format!("{value:?}"), out)),
        DataType::Float64 => number::<Float64Type>(array, |value, out| float(value, format!("{value:?}"), out)),
        DataType::Utf8 => {
            let array = array.as_string::<i32>();
            Box::new(|row, out| text(out, array.value(row)))
        }
        DataType::LargeUtf8 => {
            let array = array.as_string::<i64>();
            Box::new(|row, out| text(out, array.value(row)))
        }
        DataType::Utf8View => {
            let array = array.as_string_view();
            Box::new(|row, out| text(out, array.value(row)))
        }
        DataType::Binary => {
            let array = array.as_binary::<i32>();
            Box::new(|row, out| hex(out, array.value(row)))
        }
        DataType::LargeBinary => {
            let array = array.as_binary::<i64>();
            Box::new(|row, out| hex(out, array.value(row)))
        }
        DataType::BinaryView => {
            let array = array.as_binary_view();
            Box::new(|row, out| hex(out, array.value(row)))
        }
        DataType::FixedSizeBinary(_) => {
            let array = array.as_fixed_size_binary();
            Box::new(|row, out| hex(out, array.value(row)))
        }
        DataType::List(_) => {
            let array = array.as_list::<i32>();
            list(array.values().as_ref(), |row| {
                let offsets = array.value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            })?
        }
        DataType::LargeList(_) => {
            let array = array.as_list::<i64>();
            list(array.values().as_ref(), |row| {
                let offsets = array.value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            })?
        }
        DataType::FixedSizeList(_, _) => {
            let array = array.as_fixed_size_list();
            let length = array.value_length() as usize;
            let first = array.value_offset(0) as usize;
            list(array.values().as_ref(), move |row| (first + row * length, first + (row + 1) * length))?
        }
        DataType::Struct(_) => object(array)?,
        DataType::Map(_, _) => map(array)?,
        _ => formatted(array)?,
    };
    Ok(match array.logical_null_count() {
        0 => of_value,
        _ => Box::new(move |row, out| if array.is_null(row) { put(out, "null") } else { of_value(row, out) }),
    })
}

fn put(out: &mut Vec<u8>, value: impl std::fmt::Display) -> Result<()> {
    Ok(write!(out, "{value}")?)
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<()> {
    quote(text, out);
    Ok(())
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) -> Result<()> {
    out.push(b'"');
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    out.push(b'"');
    Ok(())
}

/// The shortest text that reads back as the same number; JSON has none for what is not finite.
fn float(value: f64, shortest: String, out: &mut Vec<u8>) -> Result<()> {
    if value.is_finite() {
        put(out, shortest)
    } else if value.is_nan() {
        put(out, "\"NaN\"")
    } else {
        put(out, if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" })
    }
}

fn number<'a, T: ArrowPrimitiveType>(
    array: &'a dyn Array,
    write: impl Fn(T::Native, &mut Vec<u8>) -> Result<()> + 'a,
) -> Writer<'a> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    Box::new(move |row, out| write(array.value(row), out))
}

fn list<'a>(values: &'a dyn Array, range: impl Fn(usize) -> (usize, usize) + 'a) -> Result<Writer<'a>> {
    let item = writer(values)?;
    Ok(Box::new(move |row, out| {
        let (start, end) = range(row);
        out.push(b'[');
        for index in start..end {
            if index > start {
                out.push(b',');
            }
            item(index, out)?;
        }
        out.push(b']');
        Ok(())
    }))
}

fn object(array: &dyn Array) -> Result<Writer<'_>> {
    let array = array.as_struct();
    let names = distinct(array.column_names().into_iter());
    let fields = array.columns().iter().map(|column| writer(column.as_ref())).collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |row, out| {
        out.push(b'{');
        for (index, (name, field)) in names.iter().zip(&fields).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            quote(name, out);
            out.push(b':');
            field(row, out)?;
        }
        out.push(b'}');
        Ok(())
    }))
}

/// A list of pairs: keys need not be texts, nor differ.
fn map(array: &dyn Array) -> Result<Writer<'_>> {
    let array = array.as_map();
    let (key, value) = (writer(array.keys().as_ref())?, writer(array.values().as_ref())?);
    Ok(Box::new(move |row, out| {
        let offsets = array.value_offsets();
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        out.push(b'[');
        for index in start..end {
            out.extend_from_slice(if index > start { b",{\"key\":" } else { b"{\"key\":" });
            key(index, out)?;
            out.extend_from_slice(b",\"value\":");
            value(index, out)?;
            out.push(b'}');
        }
        out.push(b']');
        Ok(())
    }))
}

/// Everything else as a text: decimals with all their digits, dates and times in ISO 8601.
fn formatted(array: &dyn Array) -> Result<Writer<'_>> {
    const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_duration_format(DurationFormat::ISO8601);
    let formatter = ArrayFormatter::try_new(array, &OPTIONS)?;
    Ok(Box::new(move |row, out| {
        let value = formatter.value(row).try_to_string()?;
        text(out, &value)
    }))
}
