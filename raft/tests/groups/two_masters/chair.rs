//! A machine with epochs: whoever holds the chair, and the values that were put in its name.

use std::io;

use imbl::OrdSet;
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::{EntryContext, NodeId, StateMachine};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default)]
pub(crate) struct Chair {
    pub(crate) epoch: u64,
    pub(crate) holder: Option<NodeId>,
    pub(crate) values: OrdSet<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Takes the chair, if nobody took this epoch before.
    Claim { epoch: u64, by: NodeId },
    /// Keeps a value, if this epoch is the newest.
    Put { epoch: u64, value: u64 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    Done,
    Refused,
}

#[derive(Serialize, Deserialize)]
enum Record {
    Chair(u64, Option<NodeId>),
    Value(u64),
}

impl StateMachine for Chair {
    type Command = Command;
    type Reply = Reply;
    type Query = ();
    type Answer = ();

    fn apply(&mut self, _: EntryContext, command: Command) -> Reply {
        match command {
            Command::Claim { epoch, by } if epoch == self.epoch + 1 => (self.epoch, self.holder) = (epoch, Some(by)),
            Command::Put { epoch, value } if epoch == self.epoch => drop(self.values.insert(value)),
            _ => return Reply::Refused,
        }
        Reply::Done
    }

    fn query(&self, (): ()) {}

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let Chair { epoch, holder, values } = self.clone();
        Records::view(move || {
            std::iter::once(Record::Chair(epoch, holder)).chain(values.clone().into_iter().map(Record::Value))
        })
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        *self = Chair::default();
        for record in read_records(reader) {
            match record? {
                Record::Chair(epoch, holder) => (self.epoch, self.holder) = (epoch, holder),
                Record::Value(value) => drop(self.values.insert(value)),
            }
        }
        Ok(())
    }
}
