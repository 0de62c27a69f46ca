//! Registers whose values are JSON, as histories in text have them: read, write, compare-and-set, append, delete.
//!
//! `null` is the value of a register that has none: a write of `null` deletes, a compare-and-set from `null` creates.
//! Leaves out: what deleting means for registers that start with a value; they get it back, and whether one was there is
//! not asked.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::jsonl::Textual;
use super::{Effect, Keyed, Model};

/// Registers by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonRegister {
    /// The value before the first operation; `null` for none.
    pub initial: Value,
    /// What may be asked.
    pub operations: Operations,
}

/// What the registers of a history may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Operations {
    /// Everything.
    #[default]
    All,
    /// Read, write, compare-and-set, delete.
    Register,
    /// Get, put, append, delete, of strings.
    Strings,
}

/// What a register is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonOp {
    /// Its value.
    Read,
    /// To take a value.
    Write(Value),
    /// To take a value if it has the expected one.
    Cas {
        /// The expected value.
        from: Value,
        /// The new value.
        to: Value,
        /// Whether it takes the new value without having any, too.
        create: bool,
    },
    /// To end with this. A register without a value becomes this.
    Append(String),
    /// To have the value that it started with.
    Delete,
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JsonAnswer {
    /// To a read.
    Value(Value),
    /// It was carried out.
    Done,
    /// To a compare-and-set: the register has another value. Asserts that.
    Refused,
    /// To a delete: whether there was a value.
    Deleted(bool),
}

impl JsonRegister {
    /// Registers that start with this value and can be asked everything.
    pub fn starting_with(initial: Value) -> Self {
        JsonRegister { initial, operations: Operations::All }
    }
}

impl fmt::Display for JsonOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonOp::Read => f.write_str("read"),
            JsonOp::Write(value) => write!(f, "write {value}"),
            JsonOp::Cas { from, to, create } => {
                write!(f, "cas{} {from} {to}", if *create { "-or-create" } else { "" })
            }
            JsonOp::Append(end) => write!(f, "append {end:?}"),
            JsonOp::Delete => f.write_str("delete"),
        }
    }
}

impl fmt::Display for JsonAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonAnswer::Value(value) => write!(f, "{value}"),
            JsonAnswer::Done => f.write_str("done"),
            JsonAnswer::Refused => f.write_str("refused: another value"),
            JsonAnswer::Deleted(existed) => write!(f, "{}", if *existed { "deleted" } else { "nothing to delete" }),
        }
    }
}

/// What an append adds to; `None` if nothing can be appended to the value.
fn begin(value: &Value) -> Option<&str> {
    if value.is_null() { Some("") } else { value.as_str() }
}

/// A string with another at its end; `None` if the value is no string.
fn appended(value: &Value, end: &str) -> Option<Value> {
    Some(Value::String([begin(value)?, end].concat()))
}

impl Model for JsonRegister {
    type State = Value;
    type Input = Keyed<JsonOp>;
    type Output = JsonAnswer;

    fn initial(&self) -> Value {
        self.initial.clone()
    }

    fn step(&self, state: &Value, input: &Self::Input, output: Option<&JsonAnswer>) -> Option<Value> {
        let (answer, next) = match &input.op {
            JsonOp::Read => match output {
                Some(JsonAnswer::Value(value)) if value != state => return None,
                _ => return Some(state.clone()),
            },
            JsonOp::Write(value) => (JsonAnswer::Done, value.clone()),
            JsonOp::Cas { from, to, create } => match state {
                state if state == from || (*create && state.is_null()) => (JsonAnswer::Done, to.clone()),
                _ => (JsonAnswer::Refused, state.clone()),
            },
            JsonOp::Append(end) => match appended(state, end) {
                Some(next) => (JsonAnswer::Done, next),
                // Nothing is known to come of it, and a success cannot be.
                None => (JsonAnswer::Refused, state.clone()),
            },
            JsonOp::Delete if output == Some(&JsonAnswer::Done) => (JsonAnswer::Done, self.initial()),
            JsonOp::Delete => (JsonAnswer::Deleted(!state.is_null()), self.initial()),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn is_read_only(&self, input: &Self::Input, output: Option<&JsonAnswer>) -> bool {
        match output {
            Some(JsonAnswer::Refused) => true,
            // Nothing was there, and that is what the register starts with.
            Some(JsonAnswer::Deleted(false)) => self.initial.is_null(),
            _ => matches!(input.op, JsonOp::Read),
        }
    }

    fn effect(&self, input: &Self::Input, output: Option<&JsonAnswer>) -> Effect<Value> {
        match (&input.op, output) {
            (JsonOp::Read, Some(JsonAnswer::Value(value))) => Effect::Shows(value.clone()),
            (JsonOp::Read, _) | (_, Some(JsonAnswer::Refused)) => Effect::Keeps,
            (JsonOp::Write(value), _) => Effect::Sets { to: value.clone(), blindly: true },
            (JsonOp::Cas { to, .. }, _) => Effect::Sets { to: to.clone(), blindly: false },
            (JsonOp::Append(_), _) => Effect::Grows,
            (JsonOp::Delete, _) => {
                Effect::Sets { to: self.initial(), blindly: !matches!(output, Some(JsonAnswer::Deleted(_))) }
            }
        }
    }

    fn is_part(&self, earlier: &Value, later: &Value) -> bool {
        earlier == later || begin(earlier).zip(later.as_str()).is_some_and(|(begin, later)| later.starts_with(begin))
    }

    fn grows_towards(&self, state: &Value, input: &Self::Input, later: &Value) -> bool {
        let JsonOp::Append(end) = &input.op else { return false };
        match (begin(state), later.as_str()) {
            (Some(begin), Some(later)) => later.strip_prefix(begin).is_some_and(|rest| rest.starts_with(end.as_str())),
            // Of what is no string an append that nobody saw succeed makes nothing else.
            (None, _) => state == later,
            (Some(_), None) => false,
        }
    }

    fn takes_all(&self, state: &Value) -> bool {
        begin(state).is_some()
    }

    fn key<'a>(&self, input: &'a Self::Input) -> Cow<'a, str> {
        Cow::Borrowed(&input.key)
    }
}

impl Textual for JsonRegister {
    fn input(&self, f: &str, key: &Value, value: &Value) -> Result<Self::Input, String> {
        let (register, strings) = (self.operations != Operations::Strings, self.operations != Operations::Register);
        let op = match f {
            "read" | "get" => JsonOp::Read,
            "write" | "put" if !register && !value.is_string() => {
                return Err(format!("{f} takes a string, not {value}"));
            }
            "write" | "put" => JsonOp::Write(value.clone()),
            "cas" | "cas-or-create" if register => match value.as_array().map(Vec::as_slice) {
                Some([from, to]) => JsonOp::Cas { from: from.clone(), to: to.clone(), create: f == "cas-or-create" },
                _ => return Err(format!("{f} takes [from, to], not {value}")),
            },
            "append" if strings => match value {
                Value::String(end) => JsonOp::Append(end.clone()),
                _ => return Err(format!("append takes a string, not {value}")),
            },
            "delete" => JsonOp::Delete,
            _ => return Err(format!("f is {f:?}, which is no operation of this model")),
        };
        Ok(Keyed::new(key.to_string(), op))
    }

    fn output(&self, input: &Self::Input, value: &Value) -> Result<JsonAnswer, String> {
        match (&input.op, value) {
            (JsonOp::Read, Value::String(_)) => Ok(JsonAnswer::Value(value.clone())),
            (JsonOp::Read, _) if self.operations == Operations::Strings => {
                Err(format!("a read answers a string, not {value}"))
            }
            (JsonOp::Read, _) => Ok(JsonAnswer::Value(value.clone())),
            (JsonOp::Delete, Value::Bool(existed)) if self.initial.is_null() => Ok(JsonAnswer::Deleted(*existed)),
            _ => Ok(JsonAnswer::Done),
        }
    }

    fn state_text(&self, state: &Value) -> String {
        state.to_string()
    }

    fn refusal(&self, input: &Self::Input) -> Option<JsonAnswer> {
        matches!(input.op, JsonOp::Cas { .. }).then_some(JsonAnswer::Refused)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The state after operations given as text, or the number of the first that is not possible.
    fn after(model: &JsonRegister, operations: &[(&str, Value, Option<JsonAnswer>)]) -> Result<Value, usize> {
        operations.iter().enumerate().try_fold(model.initial(), |state, (nth, (f, value, answer))| {
            let input = model.input(f, &json!("k"), value).unwrap();
            model.step(&state, &input, answer.as_ref()).ok_or(nth)
        })
    }

    #[test]
    fn null_is_the_value_of_a_register_that_has_none() {
        let nil = JsonRegister::starting_with(Value::Null);
        let done = || Some(JsonAnswer::Done);
        let table = [
            (vec![("cas", json!([null, 1]), done())], Ok(json!(1))),
            (vec![("cas", json!([1, 2]), Some(JsonAnswer::Refused))], Ok(json!(null))),
            (vec![("cas", json!([1, 2]), done())], Err(0)),
            (vec![("cas-or-create", json!([1, 2]), done())], Ok(json!(2))),
            (vec![("write", json!(1), done()), ("cas", json!([1, null]), done())], Ok(json!(null))),
            (
                vec![("write", json!(1), None), ("delete", json!(null), Some(JsonAnswer::Deleted(true)))],
                Ok(json!(null)),
            ),
            (vec![("delete", json!(null), Some(JsonAnswer::Deleted(true)))], Err(0)),
            (vec![("append", json!("x"), done())], Ok(json!("x"))),
            (vec![("write", json!(1), done()), ("append", json!("x"), None)], Ok(json!(1))),
            (vec![("write", json!(1), done()), ("append", json!("x"), done())], Err(1)),
        ];
        for (operations, state) in table {
            assert_eq!(after(&nil, &operations), state, "{operations:?}");
        }
    }

    #[test]
    fn strings_start_empty_and_are_so_again_when_deleted() {
        let strings = JsonRegister { initial: json!(""), operations: Operations::Strings };
        let done = || Some(JsonAnswer::Done);
        let operations = [
            ("put", json!("a"), done()),
            ("append", json!("b"), done()),
            ("get", json!(null), Some(JsonAnswer::Value(json!("ab")))),
        ];
        assert_eq!(after(&strings, &operations), Ok(json!("ab")));
        let delete = strings.input("delete", &json!("k"), &json!(null)).unwrap();
        assert_eq!(strings.output(&delete, &json!(true)), Ok(JsonAnswer::Done));
        assert_eq!(strings.step(&json!("ab"), &delete, Some(&JsonAnswer::Done)), Some(json!("")));
    }

    #[test]
    fn what_a_model_does_not_know_is_refused() {
        let of = |operations| JsonRegister { initial: Value::Null, operations };
        let table = [
            (Operations::All, "jump", json!(1)),
            (Operations::All, "cas", json!([1])),
            (Operations::All, "append", json!(1)),
            (Operations::Register, "append", json!("x")),
            (Operations::Strings, "cas", json!(["a", "b"])),
            (Operations::Strings, "put", json!(7)),
        ];
        for (operations, f, value) in table {
            assert!(of(operations).input(f, &Value::Null, &value).is_err(), "{f} {value}");
        }
    }
}
