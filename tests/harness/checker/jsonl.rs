//! Histories as text: one JSON object a line for each call and each return, in the order in which they were seen.
//!
//! A line has `process`, `type` (invoke, ok, fail, info), `f`, `key`, `value`, `time` (ns) and, when it failed,
//! `error`: an [`Event`]. A return need not repeat `f` and `key`; what is left out besides counts as null.
//! A `fail` says that the operation never takes effect; with the error `precondition-failed` it also asserts that the
//! precondition was false at some moment of the call. After an `info`, or without any return, nothing is known.
//! Lines of the process `nemesis` tell what was done to the nodes (`nemesis.rs`), which asserts nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Model, Operation, Outcome, Position, nemesis};
use crate::run::{Event, EventKind, FaultWindow, Run};

/// The error of a refusal that asserts something: by name, and by its number among Maelstrom's errors.
const PRECONDITION_FAILED: (&str, u64) = ("precondition-failed", 22);

/// The operations of a model, as it judges them.
pub type Operations<M> = Vec<Operation<<M as Model>::Input, <M as Model>::Output>>;

/// A model whose operations have a form in text.
pub trait Textual: Model {
    /// The operation that is called `f`, on this object, with this argument.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    fn input(&self, f: &str, key: &Value, value: &Value) -> Result<Self::Input, String>;
    /// What a return of type `ok` with this value answers.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    fn output(&self, input: &Self::Input, value: &Value) -> Result<Self::Output, String>;
    /// A state, for a person.
    fn state_text(&self, state: &Self::State) -> String;
    /// What a failed precondition answers, if the operation has one.
    fn refusal(&self, _input: &Self::Input) -> Option<Self::Output> {
        None
    }
}

/// A text that is not a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, counted from 1; or the event, of a history that is no text.
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

/// The events of a text, and where they stand.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// The calls and returns.
    pub events: Vec<Event>,
    /// The line of each, counted from 1.
    pub numbers: Vec<usize>,
    /// What was done to the nodes, as far as the lines of `nemesis` say so.
    pub faults: Vec<FaultWindow>,
    /// The first line whose time is before that of a line above it. The order of the lines counts.
    pub goes_back: Option<usize>,
}

/// A line as others may have written it.
#[derive(Deserialize)]
struct Line {
    process: Value,
    #[serde(rename = "type")]
    kind: EventKind,
    #[serde(default)]
    f: Option<String>,
    #[serde(default)]
    key: Value,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    time: Option<u64>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    node: Option<String>,
}

/// Reads the lines of a history. The order of the lines counts, not their times.
///
/// # Errors
/// [`Malformed`] when a line is not an event.
pub fn read(text: &[u8]) -> Result<Lines, Malformed> {
    let mut lines = Lines::default();
    for (nth, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let malformed = |why: String| Malformed { line: nth + 1, why };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let line: Value = serde_json::from_slice(line).map_err(|error| malformed(what_of(&error)))?;
        if nemesis::is_nemesis(&line) {
            nemesis::note(&mut lines.faults, &line);
            continue;
        }
        if !line.is_object() {
            return Err(malformed(format!("an event is an object, not {line}")));
        }
        let line: Line = serde_json::from_value(line).map_err(|error| malformed(error.to_string()))?;
        let process = line.process.as_u64().or_else(|| line.process.as_str()?.parse().ok());
        let process = process.ok_or_else(|| malformed(format!("process is {}, not a number", line.process)))?;
        let before = lines.events.last().map_or(Duration::ZERO, |event| event.time);
        let time = line.time.map_or(before, Duration::from_nanos);
        if time < before {
            lines.goes_back.get_or_insert(nth + 1);
        }
        let Line { kind, key, value, error, node, .. } = line;
        let f = line.f.unwrap_or_default();
        lines.events.push(Event { process, kind, f, key, value, time, error, node });
        lines.numbers.push(nth + 1);
    }
    Ok(lines)
}

/// Writes a run's events and faults, so that they can be read again.
pub fn write(run: &Run) -> String {
    let mut faults = nemesis::lines(&run.faults);
    faults.sort_by_key(|(time, _)| *time);
    let mut faults = faults.into_iter().peekable();
    let mut text = String::new();
    for event in &run.events {
        while let Some((_, line)) = faults.next_if(|(time, _)| *time <= event.time) {
            text += &(line.to_string() + "\n");
        }
        text += &(json!(event).to_string() + "\n");
    }
    faults.for_each(|(_, line)| text += &(line.to_string() + "\n"));
    text
}

/// What a parser says, without its line: it saw only one.
fn what_of(error: &serde_json::Error) -> String {
    let (text, place) = (error.to_string(), format!(" at line {} column", error.line()));
    text.split(&place).next().unwrap_or(&text).to_owned() + &format!(" at column {}", error.column())
}

impl Lines {
    /// The operations that the events make, in the order of their calls. An operation's positions are places in the list
    /// of events.
    ///
    /// # Errors
    /// [`Malformed`] when an event cannot follow those before it, or is none of the model's.
    pub fn operations<M: Textual>(&self, model: &M) -> Result<Operations<M>, Malformed> {
        let placed = |malformed: Malformed| Malformed { line: self.numbers[malformed.line - 1], ..malformed };
        operations(model, &self.events).map_err(placed)
    }

    /// The line of an operation's call or return.
    pub fn number(&self, position: Position) -> Option<usize> {
        self.numbers.get(position.0 as usize).copied()
    }
}

/// The operations that events make, in the order of their calls. An operation's positions are places in the list.
///
/// # Errors
/// [`Malformed`] when an event cannot follow those before it, or is none of the model's.
pub fn operations<M: Textual>(model: &M, events: &[Event]) -> Result<Operations<M>, Malformed> {
    let mut operations: Operations<M> = Vec::new();
    let mut pending: BTreeMap<u64, (usize, &Event)> = BTreeMap::new();
    for (nth, event) in events.iter().enumerate() {
        let malformed = |why: String| Malformed { line: nth + 1, why };
        let (process, position) = (event.process, Position(nth as u64));
        if event.kind == EventKind::Invoke {
            let input = model.input(&event.f, &event.key, &event.value).map_err(malformed)?;
            if pending.insert(process, (operations.len(), event)).is_some() {
                return Err(malformed(format!("process {process} calls before its last call has returned")));
            }
            operations.push(Operation { process, input, called: position, outcome: Outcome::Open });
            continue;
        }
        let called = pending.remove(&process);
        let (called, call) =
            called.ok_or_else(|| malformed(format!("process {process} returns and has not called")))?;
        if !event.f.is_empty() && event.f != call.f || !event.key.is_null() && event.key != call.key {
            let (was, is) = ((&call.f, &call.key), (&event.f, &event.key));
            return Err(malformed(format!(
                "process {process} called {} {} and returns from {} {}",
                was.0, was.1, is.0, is.1
            )));
        }
        let Operation { input, outcome, .. } = &mut operations[called];
        let refusal = || model.refusal(input).filter(|_| event.error.as_ref().is_some_and(is_precondition));
        *outcome = match event.kind {
            EventKind::Ok => {
                Outcome::Returned { output: model.output(input, &event.value).map_err(malformed)?, at: position }
            }
            EventKind::Fail => refusal().map_or(Outcome::Failed, |output| Outcome::Returned { output, at: position }),
            EventKind::Info | EventKind::Invoke => Outcome::Open,
        };
    }
    Ok(operations)
}

/// Whether an error says that the precondition was false: alone, or as the first of a list that explains it.
fn is_precondition(error: &Value) -> bool {
    let error = error.as_array().and_then(|list| list.first()).unwrap_or(error);
    error.as_str().map(|name| name.trim_start_matches(':')) == Some(PRECONDITION_FAILED.0)
        || error.as_u64() == Some(PRECONDITION_FAILED.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::json::{JsonAnswer, JsonRegister};

    fn model() -> JsonRegister {
        JsonRegister::starting_with(Value::Null)
    }

    fn parse(text: &str) -> Result<Operations<JsonRegister>, Malformed> {
        read(text.as_bytes())?.operations(&model())
    }

    #[test]
    fn lines_say_what_they_mean() {
        let text = r#"{"process":0,"type":"invoke","f":"write","key":"r","value":3,"time":0}
{"process":"nemesis","type":"info","f":"start-partition","value":["n1"]}
{"process":1,"type":"invoke","f":"cas","key":"r","value":[1,2],"time":1000}
{"process":1,"type":"fail","value":[1,2],"time":2000,"error":"precondition-failed"}

{"process":1,"type":"invoke","f":"read","key":"r","time":3000}
{"process":1,"type":"ok","f":"read","key":"r","value":3}
{"process":2,"type":"invoke","f":"cas","key":"r","value":[1,2],"index":7}
{"process":2,"type":"info","f":"cas","error":["timeout","no answer"]}
"#;
        let lines = read(text.as_bytes()).unwrap();
        let history = lines.operations(&model()).unwrap();
        assert_eq!(history[0].outcome, Outcome::Open, "a call without a return");
        assert_eq!(history[1].outcome, Outcome::Returned { output: JsonAnswer::Refused, at: Position(2) });
        assert_eq!(history[2].outcome, Outcome::Returned { output: JsonAnswer::Value(json!(3)), at: Position(4) });
        assert_eq!(history[3].outcome, Outcome::Open);
        assert_eq!(lines.number(Position(4)), Some(7));
        assert_eq!(lines.events[4].time, Duration::from_nanos(3000), "that of the event before");
    }

    #[test]
    fn only_a_failed_precondition_asserts_something() {
        let call = r#"{"process":0,"type":"invoke","f":"cas","value":[1,2]}"#;
        let table = [
            (r#"{"process":0,"type":"fail","f":"cas","error":"precondition-failed"}"#, false),
            (r#"{"process":0,"type":"fail","f":"cas","error":["precondition-failed","it is 3"]}"#, false),
            (r#"{"process":0,"type":"fail","f":"cas","error":[22,"it is 3"]}"#, false),
            (r#"{"process":0,"type":"fail","f":"cas","error":"no leader"}"#, true),
            (r#"{"process":0,"type":"fail","f":"cas"}"#, true),
        ];
        for (end, failed) in table {
            let history = parse(&format!("{call}\n{end}\n")).unwrap();
            assert_eq!(history[0].outcome == Outcome::Failed, failed, "{end}");
        }
    }

    #[test]
    fn a_number_and_its_text_are_different_keys() {
        let of = |key: &str| parse(&format!(r#"{{"process":0,"type":"invoke","f":"read","key":{key}}}"#)).unwrap();
        assert_ne!(of("1")[0].input, of("\"1\"")[0].input);
    }

    #[test]
    fn times_that_go_back_are_told_and_do_not_count() {
        let text = r#"{"process":0,"type":"invoke","f":"write","value":1,"time":9}
{"process":0,"type":"ok","f":"write","value":1,"time":5}"#;
        assert_eq!(read(text.as_bytes()).unwrap().goes_back, Some(2));
        assert_eq!(parse(text).unwrap()[0].outcome, Outcome::Returned { output: JsonAnswer::Done, at: Position(1) });
    }

    #[test]
    fn a_text_that_is_no_history_is_refused_with_the_line() {
        let call = r#"{"process":0,"type":"invoke","f":"get","key":"k"}"#;
        let table = [
            ("{}".to_owned(), 1),
            ("[]".to_owned(), 1),
            ("garbage".to_owned(), 1),
            (format!("{call}\n{}", &call[..20]), 2),
            (format!("{call}\n{call}"), 2),
            (format!("{call}\n\n{}", r#"{"process":1,"type":"ok","f":"get","value":"x"}"#), 3),
            (format!("{call}\n{}", r#"{"process":0,"type":"ok","f":"put","value":"x"}"#), 2),
            (format!("{call}\n{}", r#"{"process":0,"type":"ok","f":"get","key":"l","value":"x"}"#), 2),
            (format!("{call}\n{}", r#"{"process":0,"type":"done","f":"get"}"#), 2),
            (r#"{"process":0,"type":"invoke","f":"jump"}"#.to_owned(), 1),
            (r#"{"process":0,"type":"invoke","value":1}"#.to_owned(), 1),
            (r#"{"process":"zero","type":"invoke","f":"get"}"#.to_owned(), 1),
            (r#"{"process":-1,"type":"invoke","f":"get"}"#.to_owned(), 1),
            (r#"{"process":0,"type":"invoke","f":"get","time":"now"}"#.to_owned(), 1),
        ];
        for (text, line) in table {
            assert_eq!(parse(&text).unwrap_err().line, line, "{text}");
        }
        assert_eq!(read(b"\xff\n").unwrap_err().line, 1, "bytes that are no text");
    }
}
