//! Typed extraction of a body's fields: a value of the asked type, or error 12 that names the field and what it holds.
//!
//! Promises: nothing is guessed. `1.0`, `-1`, `"1"` and 2^64 are no non-negative integers. An optional field that is
//! null counts as missing.

use quorate::sessions::Stamp;
use quorate::types::ClientId;
use serde_json::{Map, Value};

use super::error::ErrorReply;
use super::probe;

/// A key as a client names it: a string, or an integer that stands for its decimal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    echo: Value,
    name: String,
}

impl Key {
    /// The key that `value` names, if it can name one.
    pub fn of(value: &Value) -> Option<Key> {
        let name = match value {
            Value::String(name) => name.clone(),
            Value::Number(number) if !number.is_f64() => number.to_string(),
            _ => return None,
        };
        Some(Key { echo: value.clone(), name })
    }

    /// The key's name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key as it was sent, for replies.
    pub fn echo(&self) -> Value {
        self.echo.clone()
    }
}

/// The fields of a body, or of an object inside it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// The text that `map` was read from, where it is at hand.
    text: Option<&'a str>,
    /// The field that holds the object; for error texts.
    within: Option<&'a str>,
}

impl<'a> Fields<'a> {
    /// The fields of `map`.
    pub fn new(map: &'a Map<String, Value>) -> Self {
        Fields { map, text: None, within: None }
    }

    pub(crate) fn with_text(map: &'a Map<String, Value>, text: &'a str) -> Self {
        Fields { map, text: Some(text), within: None }
    }

    /// All of them.
    pub fn map(&self) -> &'a Map<String, Value> {
        self.map
    }

    /// Whether the field is there and not null.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    fn optional<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ErrorReply> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| self.ill_typed(name, expected, value)),
        }
    }

    fn required<T>(
        &self,
        name: &str,
        expected: &str,
        convert: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<T, ErrorReply> {
        self.optional(name, expected, convert)?
            .ok_or_else(|| ErrorReply::malformed(format!("{} is missing: {expected}", self.place(name))))
    }

    /// Error 12 for a field whose value is not what was expected: "a list of shard numbers".
    pub fn ill_typed(&self, name: &str, expected: &str, found: &Value) -> ErrorReply {
        ErrorReply::malformed(format!("{} must be {expected}, not {}", self.place(name), excerpt(found)))
    }

    fn place(&self, name: &str) -> String {
        match self.within {
            None => format!("field `{name}`"),
            Some(outer) => format!("field `{name}` in `{outer}`"),
        }
    }

    /// A string.
    pub fn string(&self, name: &str) -> Result<&'a str, ErrorReply> {
        self.required(name, "a string", Value::as_str)
    }

    /// A string, if the field is there.
    pub fn optional_string(&self, name: &str) -> Result<Option<&'a str>, ErrorReply> {
        self.optional(name, "a string", Value::as_str)
    }

    /// A key: a string or an integer.
    pub fn key(&self, name: &str) -> Result<Key, ErrorReply> {
        self.required(name, "a string or an integer", Key::of)
    }

    /// A key, if the field is there.
    pub fn optional_key(&self, name: &str) -> Result<Option<Key>, ErrorReply> {
        self.optional(name, "a string or an integer", Key::of)
    }

    /// A non-negative integer below 2^64.
    pub fn unsigned(&self, name: &str) -> Result<u64, ErrorReply> {
        self.required(name, "a non-negative integer", Value::as_u64)
    }

    /// A non-negative integer below 2^64, if the field is there.
    pub fn optional_unsigned(&self, name: &str) -> Result<Option<u64>, ErrorReply> {
        self.optional(name, "a non-negative integer", Value::as_u64)
    }

    /// An integer above 0, if the field is there.
    pub fn optional_positive(&self, name: &str) -> Result<Option<u64>, ErrorReply> {
        self.optional(name, "a positive integer", |value| value.as_u64().filter(|number| *number > 0))
    }

    /// An integer of 64 bits, which may be negative.
    pub fn integer(&self, name: &str) -> Result<i64, ErrorReply> {
        self.required(name, "an integer", Value::as_i64)
    }

    /// A boolean; false when the field is missing.
    pub fn flag(&self, name: &str) -> Result<bool, ErrorReply> {
        Ok(self.optional(name, "a boolean", Value::as_bool)?.unwrap_or(false))
    }

    /// Any JSON value, null included; the field must be there.
    pub fn value(&self, name: &str) -> Result<&'a Value, ErrorReply> {
        self.map.get(name).ok_or_else(|| ErrorReply::malformed(format!("{} is missing: any value", self.place(name))))
    }

    /// The same as text, character for character as it was sent, so that no digit of a long number is lost.
    pub fn json_text(&self, name: &str) -> Result<String, ErrorReply> {
        let value = self.value(name)?;
        let sent = self.text.and_then(|text| probe::field_text(text, name));
        Ok(sent.map_or_else(|| value.to_string(), str::to_owned))
    }

    /// An object whose fields are names chosen by the client.
    pub fn object(&self, name: &str) -> Result<&'a Map<String, Value>, ErrorReply> {
        self.required(name, "an object", Value::as_object)
    }

    /// An object whose fields are names chosen by the client, if the field is there.
    pub fn optional_object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ErrorReply> {
        self.optional(name, "an object", Value::as_object)
    }

    /// A list of objects.
    pub fn objects(&self, name: &'a str) -> Result<Vec<Fields<'a>>, ErrorReply> {
        self.required(name, "a list of objects", |value| {
            let inner = |item: &'a Value| Some(Fields { map: item.as_object()?, text: None, within: Some(name) });
            value.as_array()?.iter().map(inner).collect()
        })
    }

    /// A list of strings.
    pub fn strings(&self, name: &str) -> Result<Vec<String>, ErrorReply> {
        self.required(name, "a list of strings", strings)
    }

    /// A list of strings, if the field is there.
    pub fn optional_strings(&self, name: &str) -> Result<Option<Vec<String>>, ErrorReply> {
        self.optional(name, "a list of strings", strings)
    }

    /// A list of non-negative integers.
    pub fn unsigned_list(&self, name: &str) -> Result<Vec<u64>, ErrorReply> {
        self.required(name, "a list of non-negative integers", |value| {
            value.as_array()?.iter().map(Value::as_u64).collect()
        })
    }

    /// The place in a client's session that the request claims with `client`, `seq` and perhaps `acked`.
    pub fn stamp(&self) -> Result<Option<Stamp>, ErrorReply> {
        let acked = self.optional_unsigned("acked")?;
        let stamp = match (self.optional_string("client")?, self.optional_unsigned("seq")?) {
            (Some(client), Some(seq)) => Stamp { client: ClientId::new(client), seq, acked },
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(ErrorReply::malformed("field `seq` needs field `client`: a string")),
            (Some(_), None) => {
                return Err(ErrorReply::malformed("field `client` needs field `seq`: a non-negative integer"));
            }
        };
        Ok(Some(stamp))
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// What was found, short enough for an error text.
fn excerpt(value: &Value) -> String {
    const LENGTH: usize = 60;
    match value {
        Value::Array(items) if items.len() > 8 => format!("a list of {} items", items.len()),
        Value::Object(fields) if fields.len() > 4 => format!("an object of {} fields", fields.len()),
        Value::String(text) if text.len() > LENGTH => format!("a string of {} bytes", text.len()),
        other => {
            let text = other.to_string();
            match text.char_indices().nth(LENGTH) {
                Some((cut, _)) => format!("{}...", &text[..cut]),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::stdio::error::Code;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_key_is_a_string_or_an_integer_and_is_echoed_as_sent() {
        for (sent, name) in [(json!("x"), "x"), (json!(7), "7"), (json!(-7), "-7"), (json!(""), "")] {
            let key = Key::of(&sent).unwrap();
            assert_eq!((key.name(), key.echo()), (name, sent));
        }
        for sent in [json!(1.0), json!(1.5), json!(1e300), json!(null), json!(true), json!([1]), json!({})] {
            assert_eq!(Key::of(&sent), None, "{sent}");
        }
    }

    #[test]
    fn only_true_non_negative_integers_are_unsigned() {
        for sent in [json!(-1), json!(1.0), json!("1"), json!(true), json!([]), json!(18446744073709551616.0)] {
            let body = map(json!({ "n": sent }));
            let error = Fields::new(&body).unsigned("n").unwrap_err();
            assert_eq!(error.code, Code::Malformed);
            assert_eq!(error.text, format!("field `n` must be a non-negative integer, not {sent}"));
        }
        let body = map(json!({ "n": u64::MAX }));
        assert_eq!(Fields::new(&body).unsigned("n").unwrap(), u64::MAX);
    }

    #[test]
    fn a_missing_field_is_named_in_the_error() {
        let body = map(json!({ "chunks": [{ "id": 1 }] }));
        let fields = Fields::new(&body);
        assert_eq!(fields.string("path").unwrap_err().text, "field `path` is missing: a string");
        let chunks = fields.objects("chunks").unwrap();
        let error = chunks[0].unsigned("version").unwrap_err();
        assert_eq!(error.text, "field `version` in `chunks` is missing: a non-negative integer");
    }

    #[test]
    fn null_is_a_value_but_no_option() {
        let body = map(json!({ "value": null, "limit": null }));
        let fields = Fields::new(&body);
        assert_eq!(fields.value("value").unwrap(), &Value::Null);
        assert_eq!(fields.optional_unsigned("limit").unwrap(), None);
        assert!(fields.unsigned("limit").is_err());
    }

    #[test]
    fn a_session_needs_both_its_client_and_its_number() {
        let body = map(json!({ "client": "c", "seq": 4, "acked": 3 }));
        let stamp = Fields::new(&body).stamp().unwrap().unwrap();
        assert_eq!(stamp, Stamp { client: ClientId::new("c"), seq: 4, acked: Some(3) });
        assert_eq!(Fields::new(&map(json!({}))).stamp().unwrap(), None);
        for body in [json!({ "client": "c" }), json!({ "seq": 1 }), json!({ "client": 1, "seq": 1 })] {
            assert!(Fields::new(&map(body)).stamp().is_err());
        }
    }
}
