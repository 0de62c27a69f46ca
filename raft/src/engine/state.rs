//! What a replica has applied: the machine, the group's sessions, the log's time.
//!
//! Promises: every committed entry is applied once, in order; a command that names a session takes effect once.
//! Leaves out: openraft's side of it, which is [`super::machine`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Outcome, StoredMembership};
use crate::log::{Action, Proposal};
use crate::machine::{EntryContext, Machine};
use crate::sessions::{Begin, SessionRecord, Stamp, Table, digest};
use crate::snapshot::{RecordReader, Records, SnapshotReader, SnapshotView};
use crate::types::{LogId, LogTime};

/// One entry moves the log's time by at most this much, so that one wrong clock cannot expire every session at once.
const TIME_STEP_MAX: Duration = Duration::from_secs(60);

/// The version of the snapshot stream's header.
const STREAM_VERSION: u32 = 1;

/// A replica's applied state.
///
/// Invariants: `last` grows; `time` never goes back; `membership` was put there by an entry not after `last`.
pub(crate) struct State {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    time: LogTime,
    session_ttl: Duration,
    sessions: Table,
    machine: Box<dyn Machine>,
}

/// The first record of a snapshot stream; the sessions follow, then the machine's own pieces.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    time: LogTime,
    sessions: u64,
}

impl State {
    pub(crate) fn new(machine: Box<dyn Machine>, session_ttl: Duration) -> Self {
        State {
            last: None,
            membership: StoredMembership::default(),
            time: LogTime::default(),
            session_ttl,
            sessions: Table::new(session_ttl),
            machine,
        }
    }

    /// Applies a committed proposal.
    pub(crate) fn apply(&mut self, id: LogId, proposal: &Proposal) -> Outcome {
        self.advance_time(proposal.stamped);
        self.sessions.expire(self.time);
        let entry = EntryContext { index: id.index, term: id.term, time: self.time };
        match (&proposal.action, &proposal.session) {
            (Action::OpenSession(client), _) => {
                self.sessions.open(client, self.time, entry.index);
                Outcome::Nothing
            }
            (Action::Apply(command), None) => self.apply_command(entry, command),
            (Action::Apply(command), Some(stamp)) => self.apply_once(entry, stamp, command),
        }
    }

    /// Answers a query from what is applied.
    pub(crate) fn query(&self, query: &[u8]) -> Result<Bytes, crate::machine::Undecodable> {
        self.machine.query(query)
    }

    /// A point-in-time view of everything, header first.
    pub(crate) fn view(&self) -> Arc<dyn SnapshotView> {
        Arc::new(StateView { time: self.time, sessions: self.sessions.clone(), machine: self.machine.snapshot() })
    }

    /// Replaces time, sessions and machine by what `view` holds.
    pub(crate) fn restore(&mut self, view: &dyn SnapshotView) -> io::Result<()> {
        let mut stream = view.open();
        let mut records = RecordReader::new(stream.as_mut());
        let header: Header = records.read()?.ok_or_else(|| invalid("a snapshot without a header"))?;
        if header.version != STREAM_VERSION {
            return Err(invalid(format!("a snapshot of version {}; this node reads {STREAM_VERSION}", header.version)));
        }
        let mut sessions = Table::new(self.session_ttl);
        for _ in 0..header.sessions {
            let record: SessionRecord =
                records.read()?.ok_or_else(|| invalid("a snapshot that ends in its sessions"))?;
            sessions.restore(record);
        }
        self.machine.restore(&mut records)?;
        self.time = header.time;
        self.sessions = sessions;
        Ok(())
    }

    fn advance_time(&mut self, stamped: LogTime) {
        let step = stamped.since(self.time);
        // The very first entry may come decades after zero.
        let step = if self.time == LogTime::default() { step } else { step.min(TIME_STEP_MAX) };
        self.time = LogTime(self.time.0 + u64::try_from(step.as_millis()).unwrap_or(u64::MAX - self.time.0));
    }

    fn apply_once(&mut self, entry: EntryContext, stamp: &Stamp, command: &Bytes) -> Outcome {
        let digest = digest(command);
        match self.sessions.begin(stamp, digest, self.time) {
            Begin::Replay(reply) => Outcome::Replayed(reply),
            Begin::Refused(refusal) => Outcome::Refused(refusal),
            Begin::Fresh => {
                let outcome = self.apply_command(entry, command);
                if let Outcome::Applied(reply) = &outcome {
                    self.sessions.record(stamp, digest, reply.clone(), entry.index);
                }
                outcome
            }
        }
    }

    fn apply_command(&mut self, entry: EntryContext, command: &Bytes) -> Outcome {
        match self.machine.apply(entry, command) {
            Ok(reply) => Outcome::Applied(reply),
            Err(error) => Outcome::Undecodable(error.to_string()),
        }
    }
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

/// A [`State`] at one index.
struct StateView {
    time: LogTime,
    sessions: Table,
    machine: Box<dyn SnapshotView>,
}

impl SnapshotView for StateView {
    fn open(&self) -> Box<dyn SnapshotReader> {
        let header = Header { version: STREAM_VERSION, time: self.time, sessions: self.sessions.len() as u64 };
        let sessions = self.sessions.clone();
        let own = Records::view(move || {
            let header = std::iter::once(Record::Header(header.version, header.time, header.sessions));
            header.chain(sessions.records().map(Record::Session))
        });
        Box::new(Chained { first: Some(own.open()), then: self.machine.open() })
    }
}

/// What a snapshot stream starts with; untagged on the wire, so that each kind is read back as itself.
enum Record {
    Header(u32, LogTime, u64),
    Session(SessionRecord),
}

impl Serialize for Record {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Record::Header(version, time, sessions) => {
                Header { version: *version, time: *time, sessions: *sessions }.serialize(serializer)
            }
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
