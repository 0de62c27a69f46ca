//! Lines as messages: what a line asks for, or why it cannot be taken as a request.
//!
//! Promises: no line, however odd, makes the reader fail; a line whose sender and number can be read is answered.

use std::sync::Arc;

use serde_json::{Map, Number, Value};

use super::digest::{self, Digest};
use super::error::ErrorReply;
use super::fields::Fields;
use super::probe;

/// A request: a message whose envelope and body are well formed. Its own fields have not been looked at yet.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it, and gets the reply.
    pub src: Arc<str>,
    /// The node that it was sent to, and that answers.
    pub dest: Arc<str>,
    /// The sender's number for it; without one it gets no reply.
    pub msg_id: Option<Number>,
    /// The body's `type`.
    pub kind: String,
    body: Map<String, Value>,
    text: Box<str>,
}

impl Request {
    /// What a body asks of `dest` that came in another way than as a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_body(src: &str, dest: &str, text: &str) -> Result<Request, ErrorReply> {
        let (dest, kind, body) =
            well_formed(&Some(dest.into()), serde_json::from_str(text)).map_err(ErrorReply::malformed)?;
        Ok(Request { src: src.into(), dest, msg_id: None, kind, body, text: text.into() })
    }

    /// The body's fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields::with_text(&self.body, &self.text)
    }

    /// What two deliveries of one message have in common.
    pub(crate) fn digest(&self) -> Digest {
        digest::of_message(&self.src, &self.dest, &self.body)
    }
}

/// What a line turned out to be.
#[derive(Debug)]
pub(crate) enum Line {
    /// A request, to be judged by its type and fields.
    Request(Request),
    /// Not a request, but its sender can be told.
    Refused(Refused),
    /// Nobody can be told; for standard error.
    Unreadable(String),
    /// Nothing but blanks.
    Empty,
}

/// A message that cannot be a request.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) src: Arc<str>,
    /// Missing when it is what could not be read.
    pub(crate) dest: Option<Arc<str>>,
    pub(crate) msg_id: Number,
    pub(crate) error: ErrorReply,
}

/// Reads a whole line.
pub(crate) fn parse(bytes: &[u8]) -> Line {
    if bytes.trim_ascii().is_empty() {
        return Line::Empty;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Line::Unreadable(format!("not JSON: {error}: {}", excerpt(bytes))),
    };
    match probe::envelope(text) {
        Ok(envelope) => message(envelope, bytes),
        Err(error) => Line::Unreadable(format!("not a JSON object: {error}: {}", excerpt(bytes))),
    }
}

/// What is said about a line that was longer than `limit`, of which only the beginning was kept.
pub(crate) fn too_long(head: &[u8], limit: usize) -> Line {
    let error = ErrorReply::malformed(format!("the line is longer than {limit} bytes")).reason("line_too_long");
    let found = probe::head(head);
    match (found.src, found.msg_id) {
        (Some(src), Some(msg_id)) => {
            Line::Refused(Refused { src: src.into(), dest: found.dest.map(Arc::from), msg_id, error })
        }
        _ => Line::Unreadable(format!("{}: {}", error.text, excerpt(head))),
    }
}

fn message(envelope: probe::Envelope<'_>, bytes: &[u8]) -> Line {
    let unreadable = |why: &str| Line::Unreadable(format!("not a message: {why}: {}", excerpt(bytes)));
    let Some(src) = envelope.src.and_then(probe::string) else {
        return unreadable("`src` is not a string");
    };
    let Some(text) = envelope.body.filter(|body| body.starts_with('{')) else {
        return unreadable("`body` is not an object");
    };
    let body = serde_json::from_str::<Map<String, Value>>(text);
    // Outer: whether the field is there; inner: whether it can be read.
    let number: Option<Option<Number>> = match &body {
        Ok(body) => body.get("msg_id").map(|value| value.as_number().filter(|number| !number.is_f64()).cloned()),
        Err(_) => probe::field_text(text, "msg_id").map(probe::integer),
    };
    let Some(msg_id) = number.map_or(Some(None), |number| number.map(Some)) else {
        return unreadable("`msg_id` is not an integer of 64 bits");
    };
    let src: Arc<str> = src.into();
    let dest: Option<Arc<str>> = envelope.dest.and_then(probe::string).map(Arc::from);
    match well_formed(&dest, body) {
        Ok((dest, kind, body)) => Line::Request(Request { src, dest, msg_id, kind, body, text: text.into() }),
        Err(why) => match msg_id {
            Some(msg_id) => Line::Refused(Refused { src, dest, msg_id, error: ErrorReply::malformed(why) }),
            None => unreadable(&why),
        },
    }
}

type Parts = (Arc<str>, String, Map<String, Value>);

fn well_formed(dest: &Option<Arc<str>>, body: Result<Map<String, Value>, serde_json::Error>) -> Result<Parts, String> {
    let dest = dest.clone().ok_or("`dest` is not a string")?;
    let body = body.map_err(|error| format!("the body cannot be read: {error}"))?;
    match body.get("type") {
        Some(Value::String(kind)) => Ok((dest, kind.clone(), body)),
        _ => Err("`type` is not a string".to_owned()),
    }
}

/// The beginning of a line, on one line.
fn excerpt(bytes: &[u8]) -> String {
    const LENGTH: usize = 120;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(LENGTH)]);
    format!("{text:?}{}", if bytes.len() > LENGTH { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_whatever_the_order_of_its_fields() {
        let line = br#"{"id":3,"body":{"key":"x","type":"get","msg_id":1},"dest":"n1","src":"c1"}"#;
        let Line::Request(request) = parse(line) else { panic!() };
        assert_eq!((&*request.src, &*request.dest, request.kind.as_str()), ("c1", "n1", "get"));
        assert_eq!(request.msg_id, Some(1.into()));
    }

    #[test]
    fn what_cannot_be_answered_is_unreadable() {
        let lines: [&[u8]; 16] = [
            b"not json",
            b"{",
            b"[]",
            b"null",
            b"7",
            b"\"text\"",
            b"{}",
            b"\0",
            b"{\"src\":\"c1\",\0}",
            b"\xff\xfe",
            br#"{"src":1,"dest":"n1","body":{"type":"get","msg_id":1}}"#,
            br#"{"src":"c1","dest":"n1","body":{"type":"get","msg_id":"1"}}"#,
            br#"{"src":"c1","dest":"n1","body":{"type":"get","msg_id":18446744073709551616}}"#,
            br#"{"src":"c1","dest":"n1","body":{"type":"get","msg_id":1.0}}"#,
            br#"{"src":"c1","dest":"n1","body":[1]}"#,
            br#"{"src":"c1","dest":"n1","body":{"type":"get","msg_id":1}} trailing"#,
        ];
        for line in lines {
            assert!(matches!(parse(line), Line::Unreadable(_)), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_cannot_be_a_message_is_refused_to_its_sender() {
        let deep = "[".repeat(1000) + &"]".repeat(1000);
        let lines = [
            r#"{"src":"c1","body":{"type":"get","msg_id":1}}"#.to_owned(),
            r#"{"src":"c1","dest":5,"body":{"type":"get","msg_id":1}}"#.to_owned(),
            r#"{"src":"c1","dest":"n1","body":{"msg_id":1}}"#.to_owned(),
            r#"{"src":"c1","dest":"n1","body":{"type":7,"msg_id":1}}"#.to_owned(),
            r#"{"src":"c1","dest":"n1","body":{"type":"put","value":1e999,"msg_id":1}}"#.to_owned(),
            r#"{"src":"c1","dest":"n1","body":{"type":"put","value":"\ud800","msg_id":1}}"#.to_owned(),
            format!(r#"{{"src":"c1","dest":"n1","body":{{"type":"put","value":{deep},"msg_id":1}}}}"#),
        ];
        for line in lines {
            let Line::Refused(refused) = parse(line.as_bytes()) else { panic!("{line}") };
            assert_eq!((&*refused.src, refused.msg_id), ("c1", 1.into()));
        }
    }

    #[test]
    fn blank_lines_are_no_lines() {
        for line in ["", " ", "\r", "\t \r"] {
            assert!(matches!(parse(line.as_bytes()), Line::Empty));
        }
    }

    #[test]
    fn a_carriage_return_at_the_end_does_no_harm() {
        assert!(matches!(parse(b"{\"src\":\"c\",\"dest\":\"n\",\"body\":{\"type\":\"get\"}}\r"), Line::Request(_)));
    }

    #[test]
    fn no_digit_of_a_long_number_is_lost() {
        let line = br#"{"src":"c","dest":"n","body":{"type":"put","value": 123456789012345678901234567890 }}"#;
        let Line::Request(request) = parse(line) else { panic!() };
        assert_eq!(request.fields().json_text("value").unwrap(), "123456789012345678901234567890");
    }
}
