//! Registers: keys with JSON values, the smallest machine that is worth replicating.
//!
//! Promises: a compare-and-set compares values, not texts (white space and the order of an object's members mean
//! nothing).
//! Leaves out: sessions (the group's wrapper has them), shards, deleting.

use std::io;
use std::sync::Arc;

use imbl::OrdMap;
use quorate::machine::{EntryContext, StateMachine};
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use serde::{Deserialize, Serialize};

/// A JSON value as text. A clone shares it.
pub type JsonText = Arc<str>;

/// A change of one register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterCommand {
    /// Sets the register.
    Write {
        /// Which register.
        key: Arc<str>,
        /// Its new value.
        value: JsonText,
    },
    /// Sets the register if it has the expected value.
    Cas {
        /// Which register.
        key: Arc<str>,
        /// The value that it must have.
        from: JsonText,
        /// Its new value.
        to: JsonText,
        /// Whether a register without a value is set too.
        create_if_not_exists: bool,
    },
}

/// What a change answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterReply {
    /// The register was set.
    Done,
    /// It has no value: nothing was changed.
    Missing,
    /// It has another value: nothing was changed.
    Different {
        /// The value that it has.
        current: JsonText,
    },
}

/// A question about one register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegisterQuery {
    /// Its value.
    Get {
        /// Which register.
        key: Arc<str>,
    },
}

/// All registers that were ever set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterMachine {
    values: OrdMap<Arc<str>, JsonText>,
}

impl RegisterMachine {
    /// No register set.
    pub fn new() -> Self {
        Self::default()
    }
}

impl StateMachine for RegisterMachine {
    type Command = RegisterCommand;
    type Reply = RegisterReply;
    type Query = RegisterQuery;
    /// The value, if the register has one.
    type Answer = Option<JsonText>;

    fn apply(&mut self, _entry: EntryContext, command: RegisterCommand) -> RegisterReply {
        let (key, value) = match command {
            RegisterCommand::Write { key, value } => (key, value),
            RegisterCommand::Cas { key, from, to, create_if_not_exists } => match self.values.get(&key) {
                None if !create_if_not_exists => return RegisterReply::Missing,
                Some(current) if !is_same_json(current, &from) => {
                    return RegisterReply::Different { current: Arc::clone(current) };
                }
                _ => (key, to),
            },
        };
        self.values.insert(key, value);
        RegisterReply::Done
    }

    fn query(&self, query: RegisterQuery) -> Option<JsonText> {
        let RegisterQuery::Get { key } = query;
        self.values.get(&key).cloned()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let values = self.values.clone();
        Records::view(move || values.clone().into_iter())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.values = read_records::<(Arc<str>, JsonText)>(reader).collect::<io::Result<_>>()?;
        Ok(())
    }
}

/// Whether two texts are the same JSON value. What is not JSON equals only itself, byte by byte.
fn is_same_json(one: &str, other: &str) -> bool {
    let parse = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || parse(one).is_some_and(|value| parse(other) == Some(value))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use quorate::types::{Index, LogTime, Term};

    use super::*;

    fn apply(machine: &mut RegisterMachine, command: RegisterCommand) -> RegisterReply {
        machine.apply(EntryContext { index: Index(1), place: 0, term: Term(1), time: LogTime(0) }, command)
    }

    fn write(key: &str, value: &str) -> RegisterCommand {
        RegisterCommand::Write { key: key.into(), value: value.into() }
    }

    fn cas(from: &str, to: &str, create_if_not_exists: bool) -> RegisterCommand {
        RegisterCommand::Cas { key: "k".into(), from: from.into(), to: to.into(), create_if_not_exists }
    }

    fn get(machine: &RegisterMachine, key: &str) -> Option<JsonText> {
        machine.query(RegisterQuery::Get { key: key.into() })
    }

    #[test]
    fn a_register_has_the_value_last_written_and_none_before() {
        let mut machine = RegisterMachine::new();
        assert_eq!(get(&machine, "k"), None);
        assert_eq!(apply(&mut machine, write("k", "1")), RegisterReply::Done);
        assert_eq!(apply(&mut machine, write("k", "null")), RegisterReply::Done);
        assert_eq!(get(&machine, "k").as_deref(), Some("null"), "null is a value");
        assert_eq!(get(&machine, "other"), None);
    }

    #[test]
    fn compare_and_set_follows_the_table() {
        let done = RegisterReply::Done;
        let different = |current: &str| RegisterReply::Different { current: current.into() };
        let table = [
            (None, cas("1", "2", false), RegisterReply::Missing, None),
            (None, cas("1", "2", true), done.clone(), Some("2")),
            (Some("1"), cas("1", "2", false), done.clone(), Some("2")),
            (Some("1"), cas("1", "2", true), done.clone(), Some("2")),
            (Some("1"), cas("3", "2", true), different("1"), Some("1")),
            (Some("null"), cas("1", "2", true), different("null"), Some("null")),
            (Some(r#"{"a":1,"b":[2]}"#), cas(r#"{ "b": [2], "a": 1 }"#, "2", false), done, Some("2")),
        ];
        for (before, command, reply, after) in table {
            let mut machine = RegisterMachine::new();
            before.iter().for_each(|value| drop(apply(&mut machine, write("k", value))));
            assert_eq!(apply(&mut machine, command.clone()), reply, "{command:?} of {before:?}");
            assert_eq!(get(&machine, "k").as_deref(), after, "{command:?} of {before:?}");
        }
    }

    #[test]
    fn values_are_compared_as_json() {
        let table = [
            ("1", " 1 ", true),
            ("1", "1.0", false),
            ("1.0", "1.00", true),
            (r#""a""#, r#""\u0061""#, true),
            ("[1,2]", "[2,1]", false),
            (r#"{"a":{"b":1,"c":2}}"#, r#"{"a":{"c":2,"b":1}}"#, true),
            ("null", "false", false),
            ("not json", "not json", true),
            ("not json", "neither", false),
            ("not json", "1", false),
        ];
        for (one, other, same) in table {
            assert_eq!(is_same_json(one, other), same, "{one} and {other}");
            assert_eq!(is_same_json(other, one), same, "{other} and {one}");
        }
    }

    struct Stream(std::vec::IntoIter<Bytes>);

    impl SnapshotReader for Stream {
        fn next(&mut self) -> io::Result<Option<Bytes>> {
            Ok(self.0.next())
        }
    }

    proptest! {
        #[test]
        fn a_snapshot_restores_the_state_it_was_taken_of(
            before in prop::collection::vec((".{0,3}", "[0-9]{1,4}"), 0..50),
            after in prop::collection::vec((".{0,3}", "[0-9]{1,4}"), 0..50),
        ) {
            let mut machine = RegisterMachine::new();
            before.iter().for_each(|(key, value)| drop(apply(&mut machine, write(key, value))));
            let taken = machine.clone();
            let view = machine.snapshot();
            after.iter().for_each(|(key, value)| drop(apply(&mut machine, write(key, value))));
            let mut reader = view.open();
            let pieces: Vec<Bytes> = std::iter::from_fn(|| reader.next().unwrap()).collect();
            machine.restore(&mut Stream(pieces.into_iter())).unwrap();
            prop_assert_eq!(machine, taken);
        }
    }
}
