//! The machine of the library's own scenarios: registers by number, and a list that remembers every application.

use std::io;

use imbl::{OrdMap, Vector};
use quorate::machine::{StateDigest, snapshot_digest};
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::{EntryContext, StateMachine};
use serde::{Deserialize, Serialize};

/// Registers and a list.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registers {
    values: OrdMap<u64, u64>,
    list: Vector<u64>,
}

/// What changes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A register takes a value.
    Write {
        /// Which.
        key: u64,
        /// The value.
        value: u64,
    },
    /// A register takes a value if it has another one.
    Cas {
        /// Which.
        key: u64,
        /// The value that it has to have.
        from: u64,
        /// The new value.
        to: u64,
    },
    /// A register takes a value if that is larger: one that comes late changes nothing.
    Raise {
        /// Which.
        key: u64,
        /// The value.
        to: u64,
    },
    /// The list grows: order and repetition show.
    Push {
        /// What is appended.
        value: u64,
    },
    /// A register takes a value, and the log much space.
    Fill {
        /// Which.
        key: u64,
        /// The value.
        value: u64,
        /// What takes the space.
        room: Vec<u8>,
    },
}

/// What a command comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// The register has another value.
    Refused,
    /// The list is so long now.
    Length(u64),
}

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// A register's value.
    Value(u64),
    /// The whole list.
    List,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The register's value, if it has one.
    Value(Option<u64>),
    /// The list.
    List(Vec<u64>),
}

/// A machine that takes the same commands, however it keeps its state.
pub(super) trait LikeRegisters:
    StateMachine<Command = Command, Reply = Reply, Query = Query, Answer = Answer>
{
}

impl<M> LikeRegisters for M where M: StateMachine<Command = Command, Reply = Reply, Query = Query, Answer = Answer> {}

#[derive(Serialize, Deserialize)]
enum Record {
    Value(u64, u64),
    Item(u64),
}

impl StateMachine for Registers {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, _entry: EntryContext, command: Command) -> Reply {
        match command {
            Command::Write { key, value } | Command::Fill { key, value, .. } => {
                self.values.insert(key, value);
                Reply::Done
            }
            Command::Raise { key, to } => {
                let value = self.values.get(&key).copied().unwrap_or(0).max(to);
                self.values.insert(key, value);
                Reply::Done
            }
            Command::Cas { key, from, to } if self.values.get(&key) == Some(&from) => {
                self.values.insert(key, to);
                Reply::Done
            }
            Command::Cas { .. } => Reply::Refused,
            Command::Push { value } => {
                self.list.push_back(value);
                Reply::Length(self.list.len() as u64)
            }
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Value(key) => Answer::Value(self.values.get(&key).copied()),
            Query::List => Answer::List(self.list.iter().copied().collect()),
        }
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot_digest(self.snapshot()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let Registers { values, list } = self.clone();
        Records::view(move || {
            let values = values.clone().into_iter().map(|(key, value)| Record::Value(key, value));
            values.chain(list.clone().into_iter().map(Record::Item))
        })
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        *self = Registers::default();
        for record in read_records(reader) {
            match record? {
                Record::Value(key, value) => drop(self.values.insert(key, value)),
                Record::Item(value) => self.list.push_back(value),
            }
        }
        Ok(())
    }
}
