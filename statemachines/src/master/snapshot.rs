//! The machine's snapshot: its state as a sequence of records, read from clones that share the state's structure.
//!
//! Promises: a state read back behaves like the one written; a stream cut short is an error, even between two records.

use std::io;
use std::iter::once;
use std::sync::Arc;

use quorate::sessions::SessionRecord;
use quorate::snapshot::{Records, SnapshotReader, SnapshotView, read_records};
use quorate::types::LogTime;
use serde::{Deserialize, Serialize};

use super::chunks::{Chunk, Holder};
use super::command::{ChunkId, Name, Office, Version};
use super::machine::MasterMachine;

/// The version of the records below. A reader refuses any other.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
enum Record {
    Head { version: u32, office: Office, time: LogTime, next_chunk: u64 },
    Server { name: Name, capacity: u64, lost: bool },
    Subscriber(Name),
    Chunk { id: ChunkId, version: Version, wanted: u32, holders: Vec<Holder> },
    Path(Arc<str>, Vec<ChunkId>),
    Session(SessionRecord),
    End,
}

pub(super) fn view(machine: MasterMachine) -> Box<dyn SnapshotView> {
    Records::view(move || records(machine.clone()))
}

fn records(machine: MasterMachine) -> impl Iterator<Item = Record> + Send {
    let MasterMachine { office, time, namespace, chunks, servers, subscribers, sessions } = machine;
    let head = Record::Head { version: VERSION, office, time, next_chunk: chunks.next };
    let servers = servers.by_name.into_iter();
    let servers = servers.map(|(name, server)| Record::Server { name, capacity: server.capacity, lost: server.lost });
    let subscribers = subscribers.into_iter().map(Record::Subscriber);
    let chunks = chunks.by_id.into_iter().map(|(id, chunk)| {
        let Chunk { version, wanted, holders } = chunk;
        Record::Chunk { id, version, wanted, holders }
    });
    let paths = namespace.paths.into_iter().map(|(path, chunks)| Record::Path(path, chunks.into_iter().collect()));
    let sessions = sessions.records().map(Record::Session);
    once(head).chain(servers).chain(subscribers).chain(chunks).chain(paths).chain(sessions).chain(once(Record::End))
}

pub(super) fn read(reader: &mut dyn SnapshotReader) -> io::Result<MasterMachine> {
    let mut machine = MasterMachine::new();
    let (mut headed, mut ended) = (false, false);
    for record in read_records::<Record>(reader) {
        let record = record?;
        if ended || headed == matches!(record, Record::Head { .. }) {
            return Err(damaged("a record out of its place"));
        }
        match record {
            Record::Head { version, .. } if version != VERSION => return Err(damaged("an unknown version")),
            Record::Head { office, time, next_chunk, .. } => {
                (machine.office, machine.time, machine.chunks.next) = (office, time, next_chunk);
                headed = true;
            }
            Record::Server { name, capacity, lost } => {
                machine.servers.change(&name, |server| (server.capacity, server.lost) = (capacity, lost));
            }
            Record::Subscriber(name) => _ = machine.subscribers.insert(name),
            Record::Chunk { id, version, wanted, holders } => {
                machine.chunks.put(&mut machine.servers, id, Chunk { version, wanted, holders });
            }
            Record::Path(path, chunks) => _ = machine.namespace.paths.insert(path, chunks.into_iter().collect()),
            Record::Session(session) => machine.sessions.restore(session),
            Record::End => ended = true,
        }
    }
    if ended { Ok(machine) } else { Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no end record")) }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("master snapshot: {what}"))
}
