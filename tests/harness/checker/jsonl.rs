//! Histories as text: one JSON object a line for each call and each return, in the order in which they were seen.
//!
//! A line has `process`, `type` (invoke, ok, fail, info), `f`, `key`, `value`, `time` (ns) and, when it failed,
//! `error`.
//! A `fail` says that the operation never takes effect; with the error `precondition-failed` it also asserts that the
//! precondition was false at some moment of the call. After an `info`, or without any return, nothing is known.
//! Leaves out: a register whose value is `null`, which is written as a register without a value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::kv::{StringAnswer, StringOp};
use super::register::{RegisterAnswer, RegisterOp};
use super::{Keyed, Operation, Outcome, Position};

/// The error of a refusal that asserts something.
const PRECONDITION_FAILED: &str = "precondition-failed";

/// A history of operations that have a textual form.
pub type TextHistory<T> = Vec<Operation<Keyed<T>, <T as Textual>::Answer>>;

/// An operation that can be written as a line.
pub trait Textual: Sized {
    /// What it answers.
    type Answer;
    /// The operation that is called `f`, with this argument.
    fn parse(f: &str, value: &Value) -> Option<Self>;
    /// Its `f` and its argument.
    fn text(&self) -> (&'static str, Value);
    /// What a return of type `ok` with this value answers.
    fn parse_answer(&self, value: &Value) -> Option<Self::Answer>;
    /// The value of a return of type `ok`; `None` for a refusal.
    fn answer_text(&self, answer: &Self::Answer) -> Option<Value>;
    /// What a failed precondition answers, if the operation has one.
    fn refusal(&self) -> Option<Self::Answer>;
}

/// A text that is not a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl std::error::Error for Malformed {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

#[derive(Serialize, Deserialize)]
struct Line {
    process: u64,
    #[serde(rename = "type")]
    kind: Kind,
    f: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    time: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Reads a history. The order of the lines counts, not their times.
///
/// # Errors
/// [`Malformed`] when a line is not an event that can follow those before it.
pub fn read<T: Textual>(text: &str) -> Result<TextHistory<T>, Malformed> {
    let mut history: TextHistory<T> = Vec::new();
    let mut pending: BTreeMap<u64, usize> = BTreeMap::new();
    for (nth, text) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        let malformed = |why: &str| Malformed { line: nth + 1, why: why.to_owned() };
        let line: Line = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
        let position = Position(nth as u64);
        if line.kind == Kind::Invoke {
            let op = T::parse(&line.f, &line.value).ok_or_else(|| malformed("not an operation"))?;
            if pending.insert(line.process, history.len()).is_some() {
                return Err(malformed("the process has not returned from its last call"));
            }
            let input = Keyed { key: line.key, op };
            history.push(Operation { process: line.process, input, called: position, outcome: Outcome::Open });
            continue;
        }
        let called = pending.remove(&line.process).ok_or_else(|| malformed("the process has called nothing"))?;
        let Operation { input, outcome, .. } = &mut history[called];
        let refused = line.error.as_deref() == Some(PRECONDITION_FAILED);
        *outcome = match line.kind {
            Kind::Ok => {
                let output = input.op.parse_answer(&line.value).ok_or_else(|| malformed("not an answer"))?;
                Outcome::Returned { output, at: position }
            }
            Kind::Fail => match input.op.refusal().filter(|_| refused) {
                Some(output) => Outcome::Returned { output, at: position },
                None => Outcome::Failed,
            },
            Kind::Info | Kind::Invoke => Outcome::Open,
        };
    }
    Ok(history)
}

/// Writes a history, so that it can be read again and looked at. Operations that failed are left out.
pub fn write<T: Textual>(history: &[Operation<Keyed<T>, T::Answer>]) -> String {
    let mut lines: BTreeMap<Position, Line> = BTreeMap::new();
    for Operation { process, input, called, outcome } in history {
        let (f, value) = input.op.text();
        let line = |kind, value, at: Position, error: Option<&str>| Line {
            process: *process,
            kind,
            f: f.to_owned(),
            key: input.key.clone(),
            value,
            time: at.0 * 1000,
            error: error.map(str::to_owned),
        };
        match outcome {
            Outcome::Failed => continue,
            Outcome::Open => {}
            Outcome::Returned { output, at } => {
                let returned = match input.op.answer_text(output) {
                    Some(value) => line(Kind::Ok, value, *at, None),
                    None => line(Kind::Fail, value.clone(), *at, Some(PRECONDITION_FAILED)),
                };
                lines.insert(*at, returned);
            }
        }
        lines.insert(*called, line(Kind::Invoke, value, *called, None));
    }
    lines.into_values().map(|line| json!(line).to_string() + "\n").collect()
}

impl Textual for RegisterOp<Value> {
    type Answer = RegisterAnswer<Value>;

    fn parse(f: &str, value: &Value) -> Option<Self> {
        Some(match (f, value) {
            ("read", _) => RegisterOp::Read,
            ("write", value) => RegisterOp::Write(value.clone()),
            ("cas" | "cas-or-create", Value::Array(pair)) => {
                let [from, to] = pair.as_slice() else { return None };
                RegisterOp::Cas { from: from.clone(), to: to.clone(), create: f == "cas-or-create" }
            }
            ("delete", _) => RegisterOp::Delete,
            _ => return None,
        })
    }

    fn text(&self) -> (&'static str, Value) {
        match self {
            RegisterOp::Read => ("read", Value::Null),
            RegisterOp::Write(value) => ("write", value.clone()),
            RegisterOp::Cas { from, to, create: false } => ("cas", json!([from, to])),
            RegisterOp::Cas { from, to, create: true } => ("cas-or-create", json!([from, to])),
            RegisterOp::Delete => ("delete", Value::Null),
        }
    }

    fn parse_answer(&self, value: &Value) -> Option<RegisterAnswer<Value>> {
        Some(match (self, value) {
            (RegisterOp::Read, value) => RegisterAnswer::Value((!value.is_null()).then(|| value.clone())),
            (RegisterOp::Delete, Value::Bool(existed)) => RegisterAnswer::Deleted(*existed),
            _ => RegisterAnswer::Done,
        })
    }

    fn answer_text(&self, answer: &RegisterAnswer<Value>) -> Option<Value> {
        match answer {
            RegisterAnswer::Value(value) => Some(value.clone().unwrap_or_default()),
            RegisterAnswer::Done if matches!(self, RegisterOp::Delete) => Some(Value::Null),
            RegisterAnswer::Done => Some(self.text().1),
            RegisterAnswer::Refused => None,
            RegisterAnswer::Deleted(existed) => Some(json!(existed)),
        }
    }

    fn refusal(&self) -> Option<RegisterAnswer<Value>> {
        matches!(self, RegisterOp::Cas { .. }).then_some(RegisterAnswer::Refused)
    }
}

impl Textual for StringOp {
    type Answer = StringAnswer;

    fn parse(f: &str, value: &Value) -> Option<Self> {
        Some(match (f, value) {
            ("read" | "get", _) => StringOp::Get,
            ("write" | "put", Value::String(value)) => StringOp::Put(value.clone()),
            ("append", Value::String(value)) => StringOp::Append(value.clone()),
            _ => return None,
        })
    }

    fn text(&self) -> (&'static str, Value) {
        match self {
            StringOp::Get => ("read", Value::Null),
            StringOp::Put(value) => ("write", json!(value)),
            StringOp::Append(value) => ("append", json!(value)),
        }
    }

    fn parse_answer(&self, value: &Value) -> Option<StringAnswer> {
        match self {
            StringOp::Get => Some(StringAnswer::Value(value.as_str()?.to_owned())),
            StringOp::Put(_) | StringOp::Append(_) => Some(StringAnswer::Done),
        }
    }

    fn answer_text(&self, answer: &StringAnswer) -> Option<Value> {
        match answer {
            StringAnswer::Value(value) => Some(json!(value)),
            StringAnswer::Done => Some(self.text().1),
        }
    }

    fn refusal(&self) -> Option<StringAnswer> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_says_what_it_means() {
        let text = r#"{"process":0,"type":"invoke","f":"write","key":"r","value":3,"time":0}
{"process":1,"type":"invoke","f":"cas","key":"r","value":[1,2],"time":1000}
{"process":1,"type":"fail","f":"cas","key":"r","value":[1,2],"time":2000,"error":"precondition-failed"}
{"process":1,"type":"invoke","f":"read","key":"r","value":null,"time":3000}
{"process":1,"type":"ok","f":"read","key":"r","value":3,"time":4000}
{"process":1,"type":"invoke","f":"delete","key":"r","value":null,"time":5000}
{"process":1,"type":"ok","f":"delete","key":"r","value":true,"time":6000}
"#;
        let history = read::<RegisterOp<Value>>(text).unwrap();
        assert_eq!(write(&history), text);
        assert_eq!(history[0].outcome, Outcome::Open, "a call without a return");
        assert_eq!(history[1].outcome, Outcome::Returned { output: RegisterAnswer::Refused, at: Position(2) });
        let value = RegisterAnswer::Value(Some(json!(3)));
        assert_eq!(history[2].outcome, Outcome::Returned { output: value, at: Position(4) });
    }

    #[test]
    fn only_a_failed_precondition_asserts_something() {
        let call = r#"{"process":0,"type":"invoke","f":"cas","value":[1,2]}"#;
        let table = [
            (r#"{"process":0,"type":"fail","f":"cas","error":"precondition-failed"}"#, false),
            (r#"{"process":0,"type":"fail","f":"cas","error":"no leader"}"#, true),
            (r#"{"process":0,"type":"fail","f":"cas"}"#, true),
        ];
        for (end, failed) in table {
            let history = read::<RegisterOp<Value>>(&format!("{call}\n{end}\n")).unwrap();
            assert_eq!(history[0].outcome == Outcome::Failed, failed, "{end}");
        }
    }

    #[test]
    fn a_text_that_is_no_history_is_refused_with_the_line() {
        let call = r#"{"process":0,"type":"invoke","f":"get","key":"k"}"#;
        let table = [
            ("{}".to_owned(), 1),
            (format!("{call}\n{call}"), 2),
            (format!("{call}\n\n{}", r#"{"process":1,"type":"ok","f":"get","value":"x"}"#), 3),
            (format!("{call}\n{}", r#"{"process":0,"type":"ok","f":"get","value":7}"#), 2),
            (r#"{"process":0,"type":"invoke","f":"jump"}"#.to_owned(), 1),
        ];
        for (text, line) in table {
            assert_eq!(read::<StringOp>(&text).unwrap_err().line, line, "{text}");
        }
    }
}
