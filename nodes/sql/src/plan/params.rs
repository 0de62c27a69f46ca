//! The values of `$1`, `$2`, ... from JSON.

use datafusion::common::ScalarValue;
use serde_json::value::RawValue;

use crate::error::QueryError;

/// The most digits of a decimal number.
const DIGITS_MAX: usize = 38;

/// Reads a JSON list of values: null, booleans, numbers and strings. Integers keep all their digits.
///
/// # Errors
/// [`QueryError::Wrong`] when it is none.
pub fn params(json: &str) -> Result<Vec<ScalarValue>, QueryError> {
    let wrong = || QueryError::wrong("`params` must be a list of nulls, booleans, numbers and strings");
    let values: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| wrong())?;
    values.into_iter().map(|value| param(value.get()).ok_or_else(wrong)).collect()
}

fn param(text: &str) -> Option<ScalarValue> {
    match text.as_bytes().first()? {
        b'n' => Some(ScalarValue::Null),
        b't' => Some(ScalarValue::Boolean(Some(true))),
        b'f' => Some(ScalarValue::Boolean(Some(false))),
        b'"' => Some(ScalarValue::Utf8(Some(serde_json::from_str(text).ok()?))),
        b'-' | b'0'..=b'9' => number(text),
        _ => None,
    }
}

fn number(text: &str) -> Option<ScalarValue> {
    if text.contains(['.', 'e', 'E']) {
        return Some(ScalarValue::Float64(Some(text.parse().ok()?)));
    }
    if let Ok(number) = text.parse::<i64>() {
        return Some(ScalarValue::Int64(Some(number)));
    }
    if let Ok(number) = text.parse::<u64>() {
        return Some(ScalarValue::UInt64(Some(number)));
    }
    let digits = text.trim_start_matches('-').len();
    let number = text.parse::<i128>().ok().filter(|_| digits <= DIGITS_MAX)?;
    Some(ScalarValue::Decimal128(Some(number), u8::try_from(DIGITS_MAX).ok()?, 0))
}
