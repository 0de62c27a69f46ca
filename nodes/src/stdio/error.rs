//! Error replies: Maelstrom's codes, a text for people, a stable word for programs.
//!
//! Promises: every code that a binary may answer has one constructor here, so a code is never written as a number.
//! Leaves out: which code a failure deserves; that is its caller's judgement (`outcome.rs` has the library's).

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// What went wrong, as Maelstrom numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No answer in time: the operation may have taken effect, or may yet.
    Timeout = 0,
    /// The node, group or shard that was named does not exist.
    NotFound = 1,
    /// No such type of request here.
    NotSupported = 10,
    /// Not now: it was not carried out and will not be.
    Unavailable = 11,
    /// The request makes no sense as it stands.
    Malformed = 12,
    /// Something broke while it was carried out: it may have taken effect.
    Crash = 13,
    /// Given up before it took effect.
    Abort = 14,
    /// The key does not exist.
    KeyMissing = 20,
    /// The key exists already.
    KeyExists = 21,
    /// What the request requires of the state does not hold.
    Precondition = 22,
    /// A transaction met another one.
    Conflict = 30,
}

impl Code {
    /// The number on the wire.
    pub fn number(self) -> u64 {
        self as u64
    }

    /// Whether it says that the operation has not taken effect and never will.
    pub fn is_definite(self) -> bool {
        !matches!(self, Code::Timeout | Code::Crash)
    }
}

/// The body of an error reply, but for the fields that every reply has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct ErrorReply {
    /// The code, which says whether the operation may have taken effect.
    pub code: Code,
    /// For people; may change from version to version.
    pub text: String,
    /// For programs: one stable word.
    pub reason: Option<Cow<'static, str>>,
    /// What helps the client to go on: `group`, `version`, `primary`, ...
    pub hints: Vec<(String, Value)>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident => $code:ident;)*) => {
        impl ErrorReply {
            $($(#[$doc])*
            pub fn $name(text: impl Into<String>) -> Self {
                ErrorReply::new(Code::$code, text)
            })*
        }
    };
}

constructors! {
    /// Code 0: no answer in time, outcome unknown.
    timeout => Timeout;
    /// Code 1: the target does not exist.
    not_found => NotFound;
    /// Code 10: no such type of request.
    not_supported => NotSupported;
    /// Code 11: not carried out; may work later.
    unavailable => Unavailable;
    /// Code 12: missing or ill-typed fields.
    malformed => Malformed;
    /// Code 13: it broke half-way, outcome unknown.
    crash => Crash;
    /// Code 14: given up before it took effect.
    abort => Abort;
    /// Code 20: no such key.
    key_missing => KeyMissing;
    /// Code 21: the key exists.
    key_exists => KeyExists;
    /// Code 22: a precondition does not hold.
    precondition => Precondition;
    /// Code 30: a conflict with another transaction.
    conflict => Conflict;
}

impl ErrorReply {
    /// An error of this code, without a reason.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        ErrorReply { code, text: text.into(), reason: None, hints: Vec::new() }
    }

    /// The same with a stable word for programs.
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The same with one more field; it takes the place of an earlier one of that name.
    pub fn hint(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.hints.retain(|(other, _)| other != name);
        self.hints.push((name.to_owned(), value.into()));
        self
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error {}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_timeout_and_crash_leave_the_outcome_open() {
        use Code::*;
        let all = [
            Timeout,
            NotFound,
            NotSupported,
            Unavailable,
            Malformed,
            Crash,
            Abort,
            KeyMissing,
            KeyExists,
            Precondition,
            Conflict,
        ];
        let definite: Vec<u64> = all.into_iter().filter(|code| code.is_definite()).map(Code::number).collect();
        assert_eq!(definite, [1, 10, 11, 12, 14, 20, 21, 22, 30]);
    }
}
