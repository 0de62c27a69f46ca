//! What a replica has applied: the machine, the group's sessions, the log's time.
//!
//! Promises: every committed entry is applied once, in order; a command that names a session takes effect once.
//! Leaves out: openraft's side of it, which is [`super::machine`]; how a durable machine is persisted, which is
//! [`super::durable`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Outcome, Outcomes, StoredMembership, log_id_into, membership_into};
use crate::log::{Action, Entry, Payload, Proposal, Write};
use crate::machine::{EntryContext, Machine, StateMachine, Undecodable};
use crate::sessions::{Begin, DEFAULT_TTL, SessionRecord, Stamp, Table, digest};
use crate::snapshot::{RecordReader, Records, SnapshotMeta, SnapshotReader, SnapshotView};
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
    pub(super) time: LogTime,
    pub(super) session_ttl: Duration,
    pub(super) sessions: Table,
    pub(super) machine: Box<dyn Machine>,
    /// A restore has failed half-way, or the state was given up: there is nothing to answer from, and the replica is about
    /// to stop or has stopped.
    torn: bool,
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
            torn: false,
        }
    }

    /// Applies the entry after the last one.
    pub(crate) fn apply_entry(&mut self, entry: &Entry) -> Outcomes {
        assert!(self.last < Some(entry.id), "{} applied after {:?}", entry.id, self.last);
        let outcomes = match &entry.payload {
            Payload::Writes(proposal) => self.apply(entry.id, proposal),
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id_into(entry.id)), membership_into(membership));
                Outcomes::default()
            }
            Payload::Blank => Outcomes::default(),
        };
        self.last = Some(entry.id);
        outcomes
    }

    /// Applies a proposal, one write after the other.
    fn apply(&mut self, id: LogId, proposal: &Proposal) -> Outcomes {
        self.advance_time(proposal.stamped);
        self.sessions.expire(self.time);
        let mut entry = EntryContext { index: id.index, place: 0, term: id.term, time: self.time };
        let outcomes = proposal.writes.iter().map(|write| {
            let outcome = self.apply_write(entry, write);
            entry.place += 1;
            outcome
        });
        Outcomes(outcomes.collect())
    }

    fn apply_write(&mut self, entry: EntryContext, write: &Write) -> Outcome {
        match (&write.action, &write.session) {
            (Action::OpenSession(client), _) => {
                self.sessions.open(client, self.time, entry.index);
                Outcome::Opened
            }
            (Action::Apply(command), None) => self.apply_command(entry, command),
            (Action::Apply(command), Some(stamp)) => self.apply_once(entry, stamp, command),
        }
    }

    /// The machine as applied commands left it.
    pub(crate) fn machine(&self) -> Result<&dyn Machine, Undecodable> {
        if self.torn {
            return Err(Undecodable("its state was given up: this replica stops".into()));
        }
        match self.fault() {
            Some(fault) => Err(Undecodable(format!("its store failed: this replica stops: {fault}"))),
            None => Ok(self.machine.as_ref()),
        }
    }

    /// Whether there is nothing to answer from, nor to apply to.
    pub(super) fn torn(&self) -> bool {
        self.torn
    }

    /// Takes this state and leaves `fresh`, which nobody can use.
    pub(super) fn give_up(&mut self, fresh: State) -> State {
        std::mem::replace(self, State { torn: true, ..fresh })
    }

    /// How many sessions are open.
    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Answers a query from what is applied.
    pub(crate) fn query(&self, query: &[u8]) -> Result<Bytes, Undecodable> {
        self.look(|machine| machine.query(query))?
    }

    /// Looks at what is applied. What was seen of a store that failed meanwhile counts for nothing.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&dyn Machine) -> T) -> Result<T, Undecodable> {
        let seen = look(self.machine()?);
        self.machine().map(|_| seen)
    }

    /// A point-in-time view of everything, header first.
    pub(crate) fn view(&self) -> Arc<dyn SnapshotView> {
        view(self.time, self.sessions.clone(), self.machine.snapshot())
    }

    /// Becomes what a snapshot holds.
    pub(crate) fn install(&mut self, meta: &SnapshotMeta, view: &dyn SnapshotView) -> io::Result<()> {
        self.restore(view)?;
        self.stand_at(meta);
        Ok(())
    }

    /// Replaces time, sessions and machine by what `view` holds.
    fn restore(&mut self, view: &dyn SnapshotView) -> io::Result<()> {
        let mut stream = view.open();
        let mut records = RecordReader::new(stream.as_mut());
        let (time, sessions) = read_own_part(&mut records, self.session_ttl)?;
        self.torn = true;
        self.machine.restore(&mut records)?;
        self.torn = false;
        self.time = time;
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

/// Reads what a snapshot stream starts with; the machine's own pieces are left.
pub(super) fn read_own_part(records: &mut RecordReader<'_>, session_ttl: Duration) -> io::Result<(LogTime, Table)> {
    let header: Header = records.read()?.ok_or_else(|| invalid("a snapshot without a header"))?;
    if header.version != STREAM_VERSION {
        return Err(invalid(format!("a snapshot of version {}; this node reads {STREAM_VERSION}", header.version)));
    }
    let mut sessions = Table::new(session_ttl);
    for _ in 0..header.sessions {
        let record: SessionRecord = records.read()?.ok_or_else(|| invalid("a snapshot that ends in its sessions"))?;
        sessions.restore(record);
    }
    Ok((header.time, sessions))
}

/// A whole snapshot: the group's part before the machine's.
pub(super) fn view(time: LogTime, sessions: Table, machine: Box<dyn SnapshotView>) -> Arc<dyn SnapshotView> {
    Arc::new(StateView { time, sessions, machine })
}

/// See [`crate::snapshot::edited`].
pub(crate) fn edited<M: StateMachine>(
    content: &dyn SnapshotView,
    mut machine: M,
    edit: impl FnOnce(&mut M) -> io::Result<()>,
) -> io::Result<Arc<dyn SnapshotView>> {
    let mut stream = content.open();
    let mut records = RecordReader::new(stream.as_mut());
    let (time, sessions) = read_own_part(&mut records, DEFAULT_TTL)?;
    machine.restore(&mut records)?;
    edit(&mut machine)?;
    Ok(view(time, sessions, machine.snapshot()))
}

pub(super) fn invalid(text: impl Into<String>) -> io::Error {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Typed;
    use crate::snapshot::{MemorySnapshots, SnapshotStore, read_records};
    use crate::{StateMachine, Term};

    /// Remembers the last command.
    #[derive(Default)]
    struct Last(u64);

    impl StateMachine for Last {
        type Command = u64;
        type Reply = u64;
        type Query = ();
        type Answer = u64;

        fn apply(&mut self, _: EntryContext, command: u64) -> u64 {
            std::mem::replace(&mut self.0, command)
        }

        fn query(&self, (): ()) -> u64 {
            self.0
        }

        fn snapshot(&self) -> Box<dyn SnapshotView> {
            let last = self.0;
            Records::view(move || [last, last].into_iter())
        }

        fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
            for record in read_records(reader) {
                self.0 = record?;
            }
            Ok(())
        }
    }

    fn state() -> State {
        State::new(Box::<Typed<Last>>::default(), Duration::from_secs(60))
    }

    fn applied(state: &mut State, index: u64, stamped: u64, command: u64) -> Outcome {
        let id = LogId { term: Term(1), index: crate::Index(index) };
        let action = Action::Apply(crate::machine::encode(&command));
        let proposal = Proposal { stamped: LogTime(stamped), writes: vec![Write { session: None, action }] };
        state.apply_entry(&Entry { id, payload: Payload::Writes(Arc::new(proposal)) }).0.remove(0)
    }

    #[tokio::test]
    async fn a_state_whose_restore_failed_half_way_answers_nothing() {
        let mut source = state();
        applied(&mut source, 0, 5, 7);
        let view = source.view();
        let mut pieces = view.open();
        let mut whole = Vec::new();
        while let Some(piece) = pieces.next().unwrap() {
            whole.extend_from_slice(&piece);
        }
        let mut sink = MemorySnapshots::new().receive().await.unwrap();
        sink.write(Bytes::copy_from_slice(&whole[..whole.len() - 1])).await.unwrap();
        let cut = sink.finish().await.unwrap();

        let mut target = state();
        let query = crate::machine::encode(&());
        assert!(target.restore(cut.as_ref()).is_err());
        assert!(target.query(&query).is_err());
        target.restore(view.as_ref()).unwrap();
        assert_eq!(target.query(&query), Ok(crate::machine::encode(&7u64)));
    }

    #[test]
    fn the_logs_time_never_goes_back_and_one_wrong_clock_moves_it_by_a_bounded_step() {
        let mut state = state();
        applied(&mut state, 0, 1_000_000, 1);
        assert_eq!(state.time, LogTime(1_000_000), "the first entry sets it");
        applied(&mut state, 1, 999_000, 1);
        assert_eq!(state.time, LogTime(1_000_000));
        applied(&mut state, 2, u64::MAX, 1);
        assert_eq!(state.time, LogTime(1_060_000));
    }
}
