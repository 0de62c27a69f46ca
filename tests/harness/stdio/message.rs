//! What nodes and clients say to each other, and what counts as having said something.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The body of a message.
pub type Body = Map<String, Value>;

/// A message on its way. The body stays as it was written: a network only looks at the outside.
#[derive(Clone, Debug)]
pub struct Message {
    /// The network's number for it.
    pub id: u64,
    /// Who says it.
    pub src: String,
    /// To whom.
    pub dest: String,
    /// The body's `type`; empty if it has none, which is the receiver's affair.
    pub kind: String,
    /// The body's `msg_id`, if it is an integer.
    pub msg_id: Option<u64>,
    /// The body's `in_reply_to`, if it is an integer.
    pub in_reply_to: Option<u64>,
    /// The body.
    pub body: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outside {
    #[serde(default)]
    #[expect(dead_code, reason = "a node may echo it; the network gives its own")]
    id: Option<i64>,
    src: String,
    dest: String,
    body: Box<RawValue>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type", default)]
    kind: Option<Value>,
    #[serde(default)]
    msg_id: Option<Value>,
    #[serde(default)]
    in_reply_to: Option<Value>,
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it: it must be one JSON object with the texts `src` and `dest` and the object `body`, and at most
    /// an integer `id` besides.
    pub fn parse(line: &str) -> Result<Message, String> {
        // Serde takes an array for an object too.
        if !line.trim_start().starts_with('{') {
            return Err("not a JSON object".to_owned());
        }
        let Outside { src, dest, body, .. } = serde_json::from_str(line).map_err(|error| error.to_string())?;
        Self::of(src, dest, body)
    }

    /// A message of a client.
    pub fn from_body(src: &str, dest: &str, body: &Body) -> Message {
        let number = |field: &str| body.get(field).and_then(Value::as_u64);
        Message {
            id: 0,
            src: src.to_owned(),
            dest: dest.to_owned(),
            kind: body.get("type").and_then(Value::as_str).unwrap_or_default().to_owned(),
            msg_id: number("msg_id"),
            in_reply_to: number("in_reply_to"),
            body: serde_json::value::to_raw_value(body).expect("a map of JSON values is JSON"),
        }
    }

    fn of(src: String, dest: String, body: Box<RawValue>) -> Result<Message, String> {
        if !body.get().starts_with('{') {
            return Err("its body is not an object".to_owned());
        }
        let head: Head = serde_json::from_str(body.get()).map_err(|error| format!("its body: {error}"))?;
        let number = |value: Option<Value>| value.as_ref().and_then(Value::as_u64);
        let (msg_id, in_reply_to) = (number(head.msg_id), number(head.in_reply_to));
        let kind = head.kind.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Message { id: 0, src, dest, kind, msg_id, in_reply_to, body })
    }

    /// The body, taken apart.
    pub fn fields(&self) -> Body {
        serde_json::from_str(self.body.get()).unwrap_or_default()
    }

    /// The line that the receiver reads.
    pub fn line(&self) -> String {
        let (src, dest) = (Value::from(self.src.as_str()), Value::from(self.dest.as_str()));
        format!("{{\"id\":{},\"src\":{src},\"dest\":{dest},\"body\":{}}}\n", self.id, self.body.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_with_a_sender_a_receiver_and_a_body_is_a_message() {
        let good = [
            r#"{"src":"n1","dest":"c1","body":{"type":"read_ok","in_reply_to":3,"value":[1,{"a":null}]}}"#,
            r#" {"id":7,"src":"n1","dest":"n2","body":{"type":"x"}} "#,
            r#"{"src":"n1","dest":"n2","body":{}}"#,
        ];
        let bad = [
            "",
            "hello",
            "7",
            r#"["n1","n2",{"type":"x"}]"#,
            r#"{"src":"n1","dest":"n2"}"#,
            r#"{"src":"n1","dest":"n2","body":[]}"#,
            r#"{"src":"n1","dest":"n2","body":"x"}"#,
            r#"{"src":null,"dest":"n2","body":{"type":"x"}}"#,
            r#"{"src":"n1","dest":2,"body":{"type":"x"}}"#,
            r#"{"src":"n1","dest":"n2","body":{"type":"x"},"more":1}"#,
            r#"{"src":"n1","dest":"n2","body":{"type":"x"}} {}"#,
        ];
        for line in good {
            assert!(Message::parse(line).is_ok(), "{line}");
        }
        for line in bad {
            assert!(Message::parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_body_arrives_as_it_was_written() {
        let mut message =
            Message::parse(r#"{"src":"n\"1","dest":"c1","body":{"type":"x","in_reply_to":3,"v":1.50}}"#).unwrap();
        message.id = 9;
        assert_eq!((message.kind.as_str(), message.msg_id, message.in_reply_to), ("x", None, Some(3)));
        assert_eq!(
            message.line(),
            "{\"id\":9,\"src\":\"n\\\"1\",\"dest\":\"c1\",\"body\":{\"type\":\"x\",\"in_reply_to\":3,\"v\":1.50}}\n"
        );
    }
}
