//! A stored value: the text of a JSON value.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use twox_hash::XxHash3_128;

/// The text of a JSON value. A clone shares it.
///
/// The text is checked where a value enters the system ([`Json::parse`]), not when it is decoded from a log: a machine
/// that meets a text which is no JSON treats it as a value of its own kind, and never panics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Json(Arc<str>);

impl Json {
    /// The value that `text` spells, without the blanks between its tokens. Each token stays as it was written, so that
    /// no digit of a long number is lost.
    ///
    /// # Errors
    /// When `text` is no JSON.
    pub fn parse(text: &str) -> Result<Json, serde_json::Error> {
        // As a value, not only for its form: what cannot be read back as one has no place here.
        serde_json::from_str::<Value>(text)?;
        Ok(Json(without_blanks(text).into()))
    }

    /// A value by its text, which the caller has made and knows to be JSON without blanks between its tokens.
    pub fn made(text: impl Into<Arc<str>>) -> Json {
        Json(text.into())
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The value, for who wants to look inside; `None` when the text is no JSON.
    pub fn value(&self) -> Option<Value> {
        serde_json::from_str(&self.0).ok()
    }

    /// Tells its text from any other.
    pub fn digest(&self) -> u128 {
        XxHash3_128::oneshot(self.0.as_bytes())
    }

    /// Whether both are the same JSON value: the order of an object's keys has no meaning, `1` and `1.0` differ.
    pub fn same_as(&self, other: &Json) -> bool {
        if self.0 == other.0 {
            return true;
        }
        matches!((self.value(), other.value()), (Some(mine), Some(theirs)) if mine == theirs)
    }

    /// This value with `more` appended: two strings concatenate, an array takes anything as its last element. `None`
    /// for any other pair.
    ///
    /// Works on the texts, so that appending to a long array costs a copy and not a parse.
    pub fn appended(&self, more: &Json) -> Option<Json> {
        let (mine, theirs) = (self.0.trim(), more.0.trim());
        if let (Some(head), Some(tail)) = (inside(mine, '"', '"'), inside(theirs, '"', '"')) {
            return Some(Json(format!("\"{head}{tail}\"").into()));
        }
        let elements = inside(mine, '[', ']')?.trim();
        let comma = if elements.is_empty() { "" } else { "," };
        Some(Json(format!("[{elements}{comma}{theirs}]").into()))
    }
}

/// Drops the blanks between the tokens of a JSON text.
fn without_blanks(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for char in text.chars() {
        if in_string {
            in_string = escaped || char != '"';
            escaped = !escaped && char == '\\';
        } else if matches!(char, ' ' | '\t' | '\n' | '\r') {
            continue;
        } else {
            in_string = char == '"';
        }
        kept.push(char);
    }
    kept
}

fn inside(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

impl From<&Value> for Json {
    fn from(value: &Value) -> Self {
        Json(value.to_string().into())
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text).unwrap()
    }

    #[test]
    fn appending_joins_strings_and_pushes_to_arrays_and_nothing_else() {
        let table = [
            (r#""ab""#, r#""c""#, Some(r#""abc""#)),
            (r#""""#, r#""""#, Some(r#""""#)),
            (r#""q\"""#, r#""\\""#, Some(r#""q\"\\""#)),
            (r#""\ud83d\ude00""#, r#""é""#, Some(r#""\ud83d\ude00é""#)),
            ("[]", "1", Some("[1]")),
            ("[1]", "[2,3]", Some("[1,[2,3]]")),
            (r#"["x"]"#, r#"{"a":null}"#, Some(r#"["x",{"a":null}]"#)),
            (r#""ab""#, "1", None),
            ("1", "2", None),
            ("null", r#""a""#, None),
            (r#"{"a":[]}"#, "1", None),
        ];
        for (first, more, expected) in table {
            let appended = json(first).appended(&json(more));
            assert_eq!(appended, expected.map(json), "{first} + {more}");
            if let Some(appended) = appended {
                assert_eq!(appended, json(appended.text()), "{first} + {more} has no blanks");
            }
        }
    }

    #[test]
    fn equality_is_that_of_json_values() {
        let table = [
            (r#"{"a":1,"b":[2]}"#, r#"{"b":[2],"a":1}"#, true),
            ("1", "1.0", false),
            ("1.0", "1.00", true),
            ("1e2", "100.0", true),
            ("[1,2]", "[2,1]", false),
            (r#""A""#, r#""\u0041""#, true),
            ("null", "false", false),
        ];
        for (a, b, expected) in table {
            let (raw_a, raw_b) = (Json(a.into()), Json(b.into()));
            assert_eq!(raw_a.same_as(&raw_b), expected, "{a} and {b}");
        }
    }

    #[test]
    fn a_value_keeps_its_tokens_and_loses_the_blanks_between_them() {
        let table = [
            (" { \"a b\" : [ 1 , 2.50 ] }\r\n", r#"{"a b":[1,2.50]}"#),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#" " \" \\" "#, r#"" \" \\""#),
            (r#"[ "\\" , " " ]"#, r#"["\\"," "]"#),
            ("\t1e400", ""),
        ];
        for (text, kept) in table {
            let parsed = Json::parse(text);
            assert_eq!(parsed.as_ref().map(Json::text).unwrap_or_default(), kept, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_no_json_equals_itself_only_and_hurts_nobody() {
        let (broken, other) = (Json("{\"".into()), Json("\"".into()));
        assert!(broken.same_as(&broken));
        assert!(!broken.same_as(&other));
        assert_eq!(broken.appended(&other), None);
        assert_eq!(other.appended(&broken), None);
    }
}
