//! A replica's state as a stream: the group's own part, then the machine's.
//!
//! Promises: what a later program than this one has left is refused, not misread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Own, check_not_newer};
use crate::machine::{CommandVersion, StateMachine, Versions};
use crate::planted::{self, Bug};
use crate::sessions::{DEFAULT_TTL, SessionRecord, Table};
use crate::snapshot::{RecordReader, Records, SnapshotReader, SnapshotView};
use crate::types::LogTime;

/// The versions of the snapshot stream. The second has a record more, of the commands' version in force; it is not written
/// while that is 0.
const STREAM_VERSIONS: [u32; 2] = [1, 2];

/// The first record of a snapshot stream; the sessions follow, then the machine's own pieces.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    time: LogTime,
    sessions: u64,
}

/// Reads what a snapshot stream starts with; the machine's own pieces are left. Refuses what a later program than one of
/// `versions` has left. An earlier one's is taken: the log may have raised the version before any command follows.
pub(in crate::engine) fn read_own_part(
    records: &mut RecordReader<'_>,
    session_ttl: Duration,
    versions: Versions,
) -> io::Result<Own> {
    let header: Header = records.read()?.ok_or_else(|| invalid("a snapshot without a header"))?;
    if !STREAM_VERSIONS.contains(&header.version) {
        return Err(invalid(format!("a snapshot of version {}; this node reads {STREAM_VERSIONS:?}", header.version)));
    }
    let version = match header.version == STREAM_VERSIONS[0] {
        true => CommandVersion::default(),
        false => records.read()?.ok_or_else(|| invalid("a snapshot without the version in force"))?,
    };
    check_not_newer(version, versions)?;
    let mut sessions = Table::new(session_ttl);
    for _ in 0..header.sessions {
        let record: SessionRecord = records.read()?.ok_or_else(|| invalid("a snapshot that ends in its sessions"))?;
        sessions.restore(record);
    }
    Ok(Own { time: header.time, version, sessions })
}

/// A whole snapshot: the group's part before the machine's.
pub(in crate::engine) fn view(own: Own, machine: Box<dyn SnapshotView>) -> Arc<dyn SnapshotView> {
    Arc::new(StateView { own, machine })
}

/// See [`crate::snapshot::edited`].
pub(crate) fn edited<M: StateMachine>(
    content: &dyn SnapshotView,
    mut machine: M,
    edit: impl FnOnce(&mut M) -> io::Result<()>,
) -> io::Result<Arc<dyn SnapshotView>> {
    let mut stream = content.open();
    let mut records = RecordReader::new(stream.as_mut());
    let own = read_own_part(&mut records, DEFAULT_TTL, machine.versions())?;
    machine.restore(&mut records)?;
    edit(&mut machine)?;
    Ok(view(own, machine.snapshot()))
}

pub(in crate::engine) fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// A [`State`] at one index.
struct StateView {
    own: Own,
    machine: Box<dyn SnapshotView>,
}

impl SnapshotView for StateView {
    fn open(&self) -> Box<dyn SnapshotReader> {
        let Own { time, version, sessions } = self.own.clone();
        let own = Records::view(move || {
            let raised = (version > CommandVersion::default()).then_some(Record::InForce(version));
            let stream = STREAM_VERSIONS[usize::from(raised.is_some())];
            let count = if planted::is(Bug::SessionsNotInSnapshot) { 0 } else { sessions.len() as u64 };
            let header = Record::Header(stream, time, count);
            [header].into_iter().chain(raised).chain(sessions.records().map(Record::Session))
        });
        Box::new(Chained { first: Some(own.open()), then: self.machine.open() })
    }
}

/// What a snapshot stream starts with; untagged on the wire, so that each kind is read back as itself.
enum Record {
    Header(u32, LogTime, u64),
    InForce(CommandVersion),
    Session(SessionRecord),
}

impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Record::Header(version, time, sessions) => {
                Header { version: *version, time: *time, sessions: *sessions }.serialize(serializer)
            }
            Record::InForce(version) => version.serialize(serializer),
            Record::Session(session) => session.serialize(serializer),
        }
    }
}

/// One stream after another.
struct Chained {
    first: Option<Box<dyn SnapshotReader>>,
    then: Box<dyn SnapshotReader>,
}

impl SnapshotReader for Chained {
    fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(first) = &mut self.first {
            if let Some(piece) = first.next()? {
                return Ok(Some(piece));
            }
            self.first = None;
        }
        self.then.next()
    }
}
