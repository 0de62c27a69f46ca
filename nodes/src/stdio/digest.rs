//! A digest of JSON by its meaning: the order of an object's keys and the blanks between tokens have no part in it.

use serde_json::{Map, Value};
use twox_hash::xxhash3_128::Hasher;

/// 128 bits that stand for a message's content. Not meant to withstand somebody who looks for collisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest(u128);

/// The digest of a delivery: who sent it to whom, and its body, `msg_id` included.
pub(crate) fn of_message(src: &str, dest: &str, body: &Map<String, Value>) -> Digest {
    let mut hasher = Hasher::new();
    text(&mut hasher, src);
    text(&mut hasher, dest);
    object(&mut hasher, body, &[]);
    Digest(hasher.finish_128())
}

/// The digest of a body without the fields named.
pub(crate) fn of_body_without(body: &Map<String, Value>, without: &[&str]) -> Digest {
    let mut hasher = Hasher::new();
    object(&mut hasher, body, without);
    Digest(hasher.finish_128())
}

/// Every part is written with its kind and its length first, so that no two values are written alike.
fn value(hasher: &mut Hasher, value: &Value) {
    match value {
        Value::Null => hasher.write(b"n"),
        Value::Bool(false) => hasher.write(b"f"),
        Value::Bool(true) => hasher.write(b"t"),
        Value::Number(number) => {
            hasher.write(b"#");
            text(hasher, &number.to_string());
        }
        Value::String(string) => {
            hasher.write(b"s");
            text(hasher, string);
        }
        Value::Array(items) => {
            hasher.write(b"[");
            length(hasher, items.len());
            items.iter().for_each(|item| self::value(hasher, item));
        }
        Value::Object(map) => object(hasher, map, &[]),
    }
}

fn object(hasher: &mut Hasher, map: &Map<String, Value>, without: &[&str]) {
    let mut fields: Vec<(&String, &Value)> = map.iter().filter(|(name, _)| !without.contains(&name.as_str())).collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    hasher.write(b"{");
    length(hasher, fields.len());
    for (name, field) in fields {
        text(hasher, name);
        value(hasher, field);
    }
}

fn text(hasher: &mut Hasher, text: &str) {
    length(hasher, text.len());
    hasher.write(text.as_bytes());
}

fn length(hasher: &mut Hasher, length: usize) {
    hasher.write(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Digest {
        of_message("c1", "n1", &serde_json::from_str(text).unwrap())
    }

    #[test]
    fn key_order_and_blanks_do_not_count() {
        assert_eq!(body(r#"{"a":1,"b":{"x":[],"y":null}}"#), body(r#"{ "b": {"y":null,"x":[]}, "a": 1 }"#));
    }

    #[test]
    fn different_bodies_have_different_digests() {
        let texts = [
            "{}",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":null}"#,
            r#"{"a":false}"#,
            r#"{"a":""}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
        ];
        let digests: std::collections::BTreeSet<Digest> = texts.into_iter().map(body).collect();
        assert_eq!(digests.len(), texts.len());
    }
}
