//! Replies: what a service says, and the same as text that only lacks the numbers of its delivery.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{Code, ErrorReply};

/// The fields of every reply, which only the writer sets.
const RESERVED: [&str; 3] = ["type", "in_reply_to", "msg_id"];

/// The fields of a successful reply, in the order in which they are written. Its type is the request's with `_ok`,
/// unless it names another.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    kind: Option<Cow<'static, str>>,
    fields: Fields,
}

impl Reply {
    /// A reply without fields of its own.
    pub fn new() -> Self {
        Reply::default()
    }

    /// The same with another type than the request's with `_ok`.
    pub fn kind(mut self, kind: impl Into<Cow<'static, str>>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// The same with one more field.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.push(name, &value.into());
        self
    }

    /// The same with one more field, if there is a value for it.
    pub fn optional(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// The same with one more field of any type that serde can write. What it cannot write (a map whose keys are no
    /// strings) is a mistake of ours and becomes null.
    pub fn serialized(mut self, name: &str, value: &impl Serialize) -> Self {
        self.fields.push(name, value);
        self
    }

    /// A field's value, as far as it was set here.
    pub fn get(&self, name: &str) -> Option<Value> {
        let fields = self.fields.0.strip_prefix(',')?;
        serde_json::from_str::<serde_json::Map<_, _>>(&format!("{{{fields}}}")).ok()?.remove(name)
    }

    /// The body of the message that answers a request of type `request` so, but for the numbers of its delivery.
    pub fn body(request: &str, outcome: Result<Reply, ErrorReply>) -> String {
        Answer::new(request, outcome).body()
    }

    /// The same with one more field whose value is JSON text already. Text that is not JSON becomes a string.
    pub fn json_text(mut self, name: &str, text: &str) -> Self {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) if !raw.get().contains(['\n', '\r']) => self.fields.push(name, raw),
            Ok(raw) => self.fields.push(name, &serde_json::from_str::<Value>(raw.get()).unwrap_or(Value::Null)),
            Err(_) => self.fields.push(name, text),
        }
        self
    }
}

/// `,"name":value` for each field: the end of a JSON object, without its closing brace.
#[derive(Clone, Debug, Default)]
struct Fields(String);

impl Fields {
    fn push(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        debug_assert!(!RESERVED.contains(&name), "the writer sets {name:?} itself");
        if RESERVED.contains(&name) {
            return;
        }
        self.0.push(',');
        self.0.push_str(&to_json(name));
        self.0.push(':');
        self.0.push_str(&to_json(value));
    }
}

/// JSON text; null for what has none.
pub(crate) fn to_json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

/// A reply ready to be delivered, and delivered again: everything but `in_reply_to` and `msg_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The reply's type.
    pub(crate) kind: Cow<'static, str>,
    /// The error code, if it is an error.
    pub(crate) code: Option<Code>,
    /// The other fields, as [`Fields`] has them.
    pub(crate) tail: Arc<str>,
}

impl Answer {
    /// The answer to a request of type `request`.
    pub(crate) fn new(request: &str, outcome: Result<Reply, ErrorReply>) -> Self {
        match outcome {
            Ok(reply) => Answer {
                kind: reply.kind.unwrap_or_else(|| format!("{request}_ok").into()),
                code: None,
                tail: reply.fields.0.into(),
            },
            Err(error) => Answer::error(&error),
        }
    }

    /// The body of the message that it is, but for the numbers of its delivery.
    pub(crate) fn body(&self) -> String {
        format!("{{\"type\":{}{}}}", to_json(&self.kind), self.tail)
    }

    /// An error's answer.
    pub(crate) fn error(error: &ErrorReply) -> Self {
        let mut fields = Fields::default();
        fields.push("code", &error.code.number());
        fields.push("text", &error.text);
        if let Some(reason) = &error.reason {
            fields.push("reason", reason);
        }
        for (name, value) in &error.hints {
            fields.push(name, value);
        }
        Answer { kind: "error".into(), code: Some(error.code), tail: fields.0.into() }
    }

    /// A message that answers nothing: a notification.
    pub(crate) fn notification(reply: Reply, kind: &'static str) -> Self {
        Answer { kind: reply.kind.unwrap_or(kind.into()), code: None, tail: reply.fields.0.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stored_as_text_leaves_exactly_as_it_came() {
        let reply = Reply::new().field("key", 1).json_text("value", "12345678901234567890123");
        assert_eq!(&*Answer::new("get", Ok(reply)).tail, r#","key":1,"value":12345678901234567890123"#);
    }

    #[test]
    fn text_that_would_break_the_line_is_written_anew() {
        let reply = Reply::new().json_text("a", "[1,\n2]").json_text("b", "not json");
        assert_eq!(&*Answer::new("get", Ok(reply)).tail, r#","a":[1,2],"b":"not json""#);
    }

    #[test]
    fn an_error_carries_its_code_text_reason_and_hints_in_this_order() {
        let error = ErrorReply::unavailable("ask g2").reason("wrong_group").hint("group", "g2").hint("version", 7);
        let answer = Answer::error(&error);
        assert_eq!(answer.kind, "error");
        assert_eq!(&*answer.tail, r#","code":11,"text":"ask g2","reason":"wrong_group","group":"g2","version":7"#);
    }
}
