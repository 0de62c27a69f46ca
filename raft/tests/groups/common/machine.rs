//! The machine of the tests: registers that only rise, counters, and a list that remembers every application.

use std::collections::BTreeMap;
use std::io;

use imbl::{OrdMap, Vector};
use quorate::machine::Durable;
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::{EntryContext, StateMachine};
use serde::{Deserialize, Deserializer, Serialize};

use super::Disk;

#[derive(Clone, Default)]
pub(crate) struct Register {
    pub(super) values: OrdMap<u64, u64>,
    pub(super) list: Vector<u64>,
    /// Where it persists itself, if it does.
    pub(super) disk: Option<Disk>,
    /// How many commands are not persisted.
    pub(super) waiting: u64,
}

impl Register {
    pub(crate) fn value(&self, key: u64) -> u64 {
        self.values.get(&key).copied().unwrap_or(0)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Sets a value to the larger of what it is and this: a late duplicate of an older write changes nothing.
    Raise { key: u64, to: u64 },
    /// Adds: a second application shows.
    Add { key: u64, amount: u64 },
    /// Appends to the list: order and repetition show.
    Push { value: u64 },
    /// Sets a value and takes up room in the log.
    Fill { key: u64, to: u64, room: Vec<u8> },
    /// Cannot be decoded by anybody.
    Unreadable(Unreadable),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable(pub(crate) u64);

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("of another version"))
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Query {
    Value(u64),
    Everything,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Value(u64),
    Everything { values: BTreeMap<u64, u64>, list: Vec<u64> },
}

#[derive(Serialize, Deserialize)]
enum Record {
    Value(u64, u64),
    Item(u64),
}

impl StateMachine for Register {
    type Command = Command;
    type Reply = u64;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, _: EntryContext, command: Command) -> u64 {
        let change = |values: &mut OrdMap<u64, u64>, key, change: &dyn Fn(u64) -> u64| {
            let value = change(values.get(&key).copied().unwrap_or(0));
            values.insert(key, value);
            value
        };
        if let Some(disk) = &self.disk {
            self.waiting += 1;
            let mut held = disk.held();
            held.waited_max = held.waited_max.max(self.waiting);
        }
        match command {
            Command::Raise { key, to } => change(&mut self.values, key, &|was| was.max(to)),
            Command::Add { key, amount } => change(&mut self.values, key, &|was| was + amount),
            Command::Fill { key, to, .. } => change(&mut self.values, key, &|_| to),
            Command::Push { value } => {
                self.list.push_back(value);
                self.list.len() as u64
            }
            Command::Unreadable(_) => u64::MAX,
        }
    }

    fn query(&self, query: Query) -> Answer {
        match query {
            Query::Value(key) => Answer::Value(self.value(key)),
            Query::Everything => Answer::Everything {
                values: self.values.iter().map(|(key, value)| (*key, *value)).collect(),
                list: self.list.iter().copied().collect(),
            },
        }
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let Register { values, list, .. } = self.clone();
        Records::view(move || {
            let values = values.clone().into_iter().map(|(key, value)| Record::Value(key, value));
            values.chain(list.clone().into_iter().map(Record::Item))
        })
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        (self.values, self.list) = Default::default();
        for record in read_records(reader) {
            match record? {
                Record::Value(key, value) => {
                    self.values.insert(key, value);
                }
                Record::Item(value) => self.list.push_back(value),
            }
        }
        Ok(())
    }

    fn durable(&self) -> Option<&dyn Durable> {
        self.disk.is_some().then_some(self)
    }

    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        self.disk.is_some().then_some(self)
    }
}
