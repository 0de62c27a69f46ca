//! Reads a message as far as it goes: the address and the number of a line that cannot be taken as a whole, because it
//! is cut off, nested too deeply, or holds numbers out of range.
//!
//! Promises: a field counts only once the text after it has been seen to go on, so that a number cut in half is not
//! taken for a whole one. Constant memory but for the fields kept, and no recursion.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Number;
use serde_json::value::RawValue;

/// A message's envelope: the text of each part that was found. The last of several fields of one name counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Envelope<'a> {
    pub(crate) src: Option<&'a str>,
    pub(crate) dest: Option<&'a str>,
    pub(crate) body: Option<&'a str>,
}

/// The parts of a whole line; an error if it is not a JSON object.
pub(crate) fn envelope(line: &str) -> Result<Envelope<'_>, serde_json::Error> {
    let mut found = Envelope::default();
    walk(line, |name, value| {
        match name {
            "src" => found.src = Some(value),
            "dest" => found.dest = Some(value),
            "body" => found.body = Some(value),
            _ => {}
        };
    })?;
    Ok(found)
}

/// The text of one field of an object.
pub(crate) fn field_text<'a>(object: &'a str, field: &str) -> Option<&'a str> {
    let mut found = None;
    // What was found before an error still stands.
    let _ = walk(object, |name, value| {
        if name == field {
            found = Some(value);
        }
    });
    found
}

/// A JSON string's content.
pub(crate) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// A JSON integer of 64 bits.
pub(crate) fn integer(text: &str) -> Option<Number> {
    serde_json::from_str::<Number>(text).ok().filter(|number| !number.is_f64())
}

/// What the first bytes of a line that was too long say about who sent it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    pub(crate) src: Option<String>,
    pub(crate) dest: Option<String>,
    pub(crate) msg_id: Option<Number>,
}

/// Reads the beginning of a message.
pub(crate) fn head(bytes: &[u8]) -> Head {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut head = Head::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    // The end of the text is an error, and expected.
    let _ = HeadOf(&mut head).deserialize(&mut reader);
    head
}

struct HeadOf<'h>(&'h mut Head);

impl<'de> DeserializeSeed<'de> for HeadOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeadOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "src" => self.0.src = string(map.next_value::<&RawValue>()?.get()),
                "dest" => self.0.dest = string(map.next_value::<&RawValue>()?.get()),
                "body" => map.next_value_seed(BodyOf(&mut self.0.msg_id))?,
                _ => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

struct BodyOf<'h>(&'h mut Option<Number>);

impl<'de> DeserializeSeed<'de> for BodyOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BodyOf<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a body")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut name = map.next_key::<String>()?;
        while let Some(field) = name {
            let value = map.next_value::<&RawValue>()?;
            name = map.next_key()?;
            if field == "msg_id" {
                *self.0 = integer(value.get());
            }
        }
        Ok(())
    }
}

/// Calls `each` with the name and the text of every field of an object.
fn walk<'a>(object: &'a str, each: impl FnMut(&str, &'a str)) -> Result<(), serde_json::Error> {
    struct Walk<F>(F);

    impl<'de, F: FnMut(&str, &'de str)> Visitor<'de> for Walk<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                let value: &'de RawValue = map.next_value()?;
                (self.0)(&name, value.get());
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Walk(each))?;
    reader.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (Option<&'static str>, Option<u64>) {
        let head = head(text.as_bytes());
        let src: Option<&'static str> = head.src.map(|src| &*src.leak());
        (src, head.msg_id.and_then(|id| id.as_u64()))
    }

    #[test]
    fn the_head_of_a_cut_line_tells_what_stands_in_it() {
        let whole = r#"{"src":"c1","dest":"n1","body":{"type":"put","msg_id":42,"value":"xxx"#;
        assert_eq!(found(whole), (Some("c1"), Some(42)));
        assert_eq!(found(r#"{"body":{"msg_id":42,"value":"xxx"#), (None, Some(42)));
        assert_eq!(found(r#"{"src":"c1","body":{"value":"xxx"#), (Some("c1"), None));
        assert_eq!(found(r#"{"src":7,"body":{"msg_id":"x","#), (None, None));
        assert_eq!(found("[[[["), (None, None));
        assert_eq!(found(""), (None, None));
    }

    #[test]
    fn a_number_cut_in_half_is_not_taken_for_a_whole_one() {
        assert_eq!(found(r#"{"src":"c1","body":{"msg_id":4"#), (Some("c1"), None));
        assert_eq!(found(r#"{"src":"c1","body":{"msg_id":4,"#), (Some("c1"), None));
        assert_eq!(found(r#"{"src":"c1","body":{"msg_id":4,"v":"#), (Some("c1"), Some(4)));
    }

    #[test]
    fn a_head_cut_inside_a_character_is_read_up_to_it() {
        let text = r#"{"src":"c1","body":{"msg_id":4,"v":"é"#.as_bytes();
        assert_eq!(head(&text[..text.len() - 1]).msg_id, Some(4.into()));
    }

    #[test]
    fn nesting_of_any_depth_is_passed_over() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let line = format!(r#"{{"src":"c1","body":{{"deep":{deep},"msg_id":4}}}}"#);
        let envelope = envelope(&line).unwrap();
        assert_eq!(field_text(envelope.body.unwrap(), "msg_id"), Some("4"));
        assert_eq!(head(line.as_bytes()).msg_id, Some(4.into()));
    }

    #[test]
    fn the_last_of_several_fields_counts() {
        assert_eq!(field_text(r#"{"a":1,"a":2}"#, "a"), Some("2"));
    }
}
