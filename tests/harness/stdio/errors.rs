//! What a request came to, as a client knows it.

use serde_json::{Value, json};

use super::message::Body;
use crate::run::EventKind;

/// The errors that the protocol names: code, name, whether it is known that nothing happened.
const ERRORS: [(u64, &str, bool); 11] = [
    (0, "timeout", false),
    (1, "node-not-found", true),
    (10, "not-supported", true),
    (11, "temporarily-unavailable", true),
    (12, "malformed-request", true),
    (13, "crash", false),
    (14, "abort", true),
    (20, "key-does-not-exist", true),
    (21, "key-already-exists", true),
    (22, "precondition-failed", true),
    (30, "txn-conflict", true),
];

/// Why there is no answer, or not the one that was hoped for.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// None came in time.
    Timeout,
    /// The node was killed while it had the request.
    Died,
    /// The node does not run; it never got the request.
    Down,
    /// The node's own error.
    Error {
        /// Which.
        code: u64,
        /// All that it said.
        body: Body,
    },
}

impl Refusal {
    /// The error that this body is, if it is one.
    pub fn of(body: &Body) -> Option<Refusal> {
        let is_error = body.get("type").is_some_and(|kind| kind == "error");
        // An error without a code may be anything.
        let code = body.get("code").and_then(Value::as_u64).unwrap_or(u64::MAX);
        is_error.then(|| Refusal::Error { code, body: body.clone() })
    }

    /// Whether the request is known to have no effect, now and later. What the protocol does not name is not.
    pub fn is_definite(&self) -> bool {
        match self {
            Refusal::Timeout | Refusal::Died => false,
            Refusal::Down => true,
            Refusal::Error { code, .. } => ERRORS.iter().any(|(known, _, definite)| known == code && *definite),
        }
    }

    /// The code of the node's error.
    pub fn code(&self) -> Option<u64> {
        match self {
            Refusal::Error { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// A field of the node's error that is a text.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self {
            Refusal::Error { body, .. } => body.get(field)?.as_str(),
            _ => None,
        }
    }

    /// The answer that says so: the node's own, or what is said in its place when it is silent.
    pub fn into_body(self) -> Body {
        let (code, text) = match self {
            Refusal::Timeout => (0, "no answer came in time"),
            Refusal::Died => (13, "the node has died with the request"),
            Refusal::Down => (11, "the node does not run"),
            Refusal::Error { body, .. } => return body,
        };
        [("type", json!("error")), ("code", json!(code)), ("text", json!(text))]
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }

    /// The error of an event: its name and, if there is one, its text.
    pub fn to_json(&self) -> Value {
        match self {
            Refusal::Timeout => json!("net-timeout"),
            Refusal::Died => json!("node-died"),
            Refusal::Down => json!("node-down"),
            Refusal::Error { code, .. } => {
                let name = ERRORS.iter().find(|(known, ..)| known == code).map_or("unknown", |(_, name, _)| name);
                json!([name, self.text("text").unwrap_or_default()])
            }
        }
    }
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Return {
    /// In which of the ways; not [`EventKind::Invoke`].
    pub kind: EventKind,
    /// Its answer; what it was called with if there is none.
    pub value: Value,
    /// Why it did not end well.
    pub error: Option<Value>,
}

impl Return {
    /// It answered this.
    pub fn ok(value: impl Into<Value>) -> Return {
        Return { kind: EventKind::Ok, value: value.into(), error: None }
    }

    /// It never happens.
    pub fn fail(value: impl Into<Value>, error: Value) -> Return {
        Return { kind: EventKind::Fail, value: value.into(), error: Some(error) }
    }

    /// Nobody knows.
    pub fn info(value: impl Into<Value>, error: Value) -> Return {
        Return { kind: EventKind::Info, value: value.into(), error: Some(error) }
    }

    /// What a refusal means for an operation that changes something: unless it is definite, nobody knows.
    pub fn refused(value: impl Into<Value>, refusal: &Refusal) -> Return {
        match refusal.is_definite() {
            true => Return::fail(value, refusal.to_json()),
            false => Return::info(value, refusal.to_json()),
        }
    }

    /// What a refusal means for an operation that changes nothing: it might as well not have been called.
    pub fn unread(value: impl Into<Value>, refusal: &Refusal) -> Return {
        Return::fail(value, refusal.to_json())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: u64) -> Refusal {
        let body = json!({ "type": "error", "code": code, "text": "why" });
        Refusal::of(body.as_object().unwrap()).unwrap()
    }

    #[test]
    fn an_error_is_definite_only_if_the_protocol_says_so() {
        let definite = [1, 10, 11, 12, 14, 20, 21, 22, 30];
        for code in (0..40).chain([999, 1000, 1001, u64::MAX]) {
            let refusal = error(code);
            assert_eq!(refusal.is_definite(), definite.contains(&code), "{code}");
            let kind = if definite.contains(&code) { EventKind::Fail } else { EventKind::Info };
            assert_eq!(Return::refused(Value::Null, &refusal).kind, kind, "{code}");
            assert_eq!(Return::unread(Value::Null, &refusal).kind, EventKind::Fail, "{code}");
        }
        assert!(!Refusal::Timeout.is_definite() && !Refusal::Died.is_definite() && Refusal::Down.is_definite());
    }

    #[test]
    fn an_error_is_told_by_name_and_text() {
        assert_eq!(error(22).to_json(), json!(["precondition-failed", "why"]));
        assert_eq!(error(1000).to_json(), json!(["unknown", "why"]));
        assert_eq!(Refusal::Timeout.to_json(), json!("net-timeout"));
        assert_eq!(Refusal::of(json!({ "type": "read_ok" }).as_object().unwrap()), None);
        let silent = Refusal::of(json!({ "type": "error" }).as_object().unwrap()).unwrap();
        assert!(!silent.is_definite());
    }

    #[test]
    fn what_is_said_in_a_silent_nodes_place_is_as_definite_as_its_silence() {
        for (silence, code) in [(Refusal::Timeout, 0), (Refusal::Died, 13), (Refusal::Down, 11)] {
            let said = Refusal::of(&silence.clone().into_body()).unwrap();
            assert_eq!((said.code(), said.is_definite()), (Some(code), silence.is_definite()));
        }
        let own = json!({ "type": "error", "code": 22, "more": 1 }).as_object().unwrap().clone();
        assert_eq!(Refusal::of(&own).unwrap().into_body(), own);
    }
}
