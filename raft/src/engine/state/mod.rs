//! What a replica has applied: the machine, the group's sessions, the log's time.
//!
//! Promises: every committed entry is applied once, in order; a command that names a session takes effect once.
//! Leaves out: openraft's side of it, which is [`super::machine`]; how a durable machine is persisted, which is
//! [`super::durable`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::digests::Task;
use super::types::{Outcome, Outcomes, StoredMembership, log_id_into, membership_into};
use crate::log::{Action, Entry, Payload, Proposal, Write};
use crate::machine::{CommandVersion, EntryContext, Machine, StateMachine, Undecodable, Versions};
use crate::planted::{self, Bug};
use crate::sessions::{Begin, DEFAULT_TTL, SessionRecord, Stamp, Table, digest};
use crate::snapshot::{RecordReader, Records, SnapshotMeta, SnapshotReader, SnapshotView};
use crate::types::{LogId, LogTime};

/// One entry moves the log's time by at most this much, so that one wrong clock cannot expire every session at once.
const TIME_STEP_MAX: Duration = Duration::from_secs(60);

/// The versions of the snapshot stream. The second has a record more, of the commands' version in force; it is not written
/// while that is 0.
const STREAM_VERSIONS: [u32; 2] = [1, 2];

/// A replica's applied state.
///
/// Invariants: `last` grows; time and version never go back; `membership` was put there by an entry not after `last`.
pub(crate) struct State {
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
    pub(super) own: Own,
    pub(super) session_ttl: Duration,
    /// What the machine can apply.
    versions: Versions,
    /// What the entries applied last ask for beside.
    tasks: VecDeque<Task>,
    pub(super) machine: Box<dyn Machine>,
    /// A restore has failed half-way, or the state was given up: there is nothing to answer from, and the replica is about
    /// to stop or has stopped.
    torn: bool,
}

/// The group's own part of what is applied.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) time: LogTime,
    /// The version of the commands that is in force.
    pub(super) version: CommandVersion,
    pub(super) sessions: Table,
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
            own: Own {
                time: LogTime::default(),
                version: CommandVersion::default(),
                sessions: Table::new(session_ttl),
            },
            session_ttl,
            versions: machine.versions(),
            tasks: VecDeque::new(),
            machine,
            torn: false,
        }
    }

    /// Applies the entry after the last one.
    ///
    /// # Errors
    /// When the machine cannot apply the version of commands that is in force; nothing has changed then.
    pub(crate) fn apply_entry(&mut self, entry: &Entry) -> io::Result<Outcomes> {
        assert!(self.last < Some(entry.id), "{} applied after {:?}", entry.id, self.last);
        let outcomes = match &entry.payload {
            Payload::Writes(proposal) => {
                self.check_versions(proposal)?;
                self.apply(entry.id, proposal)
            }
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(log_id_into(entry.id)), membership_into(membership));
                Outcomes::default()
            }
            Payload::Blank => Outcomes::default(),
        };
        self.last = Some(entry.id);
        Ok(outcomes)
    }

    /// Whether the machine can apply every version by which the writes of `proposal` are to be carried out.
    fn check_versions(&self, proposal: &Proposal) -> io::Result<()> {
        let mut in_force = self.own.version;
        for write in &proposal.writes {
            match &write.action {
                Action::RaiseVersion(to) => in_force = in_force.max(*to),
                Action::OpenSession(_) | Action::Digest | Action::Verdict(_) => continue,
                Action::Apply(_) => {}
            }
            if !self.versions.contains(in_force) {
                return Err(unfit(in_force, self.versions));
            }
        }
        Ok(())
    }

    /// The version of commands that is in force, and whether the machine can apply it.
    pub(crate) fn version(&self) -> (CommandVersion, bool) {
        (self.own.version, self.versions.contains(self.own.version))
    }

    pub(crate) fn versions(&self) -> Versions {
        self.versions
    }

    /// Applies a proposal, one write after the other.
    fn apply(&mut self, id: LogId, proposal: &Proposal) -> Outcomes {
        self.advance_time(proposal.stamped);
        self.own.sessions.expire(self.own.time);
        let mut entry = EntryContext { index: id.index, place: 0, term: id.term, time: self.own.time };
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
                self.own.sessions.open(client, self.own.time, entry.index);
                Outcome::Done
            }
            (Action::RaiseVersion(to), _) => {
                self.own.version = self.own.version.max(*to);
                Outcome::Done
            }
            (Action::Digest, _) => {
                let digest = self.digest();
                self.tasks.extend(digest.map(|digest| Task::Compute(entry.index, digest)));
                Outcome::Done
            }
            (Action::Verdict(verdict), _) => {
                self.tasks.push_back(Task::Judge(*verdict));
                Outcome::Done
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

    /// What the entries applied last ask for beside.
    pub(super) fn take_tasks(&mut self) -> VecDeque<Task> {
        std::mem::take(&mut self.tasks)
    }

    /// Answers nothing and applies nothing from now on.
    pub(super) fn tear(&mut self) {
        self.torn = true;
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
        self.own.sessions.len()
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
        view(self.own.clone(), self.machine.snapshot())
    }

    /// Becomes what a snapshot holds.
    pub(crate) fn install(&mut self, meta: &SnapshotMeta, view: &dyn SnapshotView) -> io::Result<()> {
        self.restore(view)?;
        self.stand_at(meta);
        Ok(())
    }

    /// Replaces the group's own part and the machine by what `view` holds.
    fn restore(&mut self, view: &dyn SnapshotView) -> io::Result<()> {
        let mut stream = view.open();
        let mut records = RecordReader::new(stream.as_mut());
        let own = read_own_part(&mut records, self.session_ttl, self.versions)?;
        self.torn = true;
        self.machine.restore(&mut records)?;
        self.torn = false;
        let sessions = std::mem::replace(&mut self.own, own).sessions;
        if planted::is(Bug::SessionsNotReset) {
            self.own.sessions = sessions;
        }
        Ok(())
    }

    /// Expires sessions by another time than the log's: what a planted bug does.
    pub(super) fn expire_sessions(&mut self, now: LogTime) {
        self.own.sessions.expire(now);
    }

    fn advance_time(&mut self, stamped: LogTime) {
        let time = &mut self.own.time;
        let step = stamped.since(*time);
        // The very first entry may come decades after zero.
        let step = if *time == LogTime::default() { step } else { step.min(TIME_STEP_MAX) };
        *time = LogTime(time.0 + u64::try_from(step.as_millis()).unwrap_or(u64::MAX - time.0));
    }

    fn apply_once(&mut self, entry: EntryContext, stamp: &Stamp, command: &Bytes) -> Outcome {
        let digest = digest(command);
        match self.own.sessions.begin(stamp, digest, self.own.time) {
            Begin::Replay(reply) => Outcome::Replayed(reply),
            Begin::Refused(refusal) => Outcome::Refused(refusal),
            Begin::Fresh => {
                let outcome = self.apply_command(entry, command);
                if let Outcome::Applied(reply) = &outcome {
                    self.own.sessions.record(stamp, digest, reply.clone(), entry.index);
                }
                outcome
            }
        }
    }

    fn apply_command(&mut self, entry: EntryContext, command: &Bytes) -> Outcome {
        match self.machine.apply_as(self.own.version, entry, command) {
            Ok(reply) => Outcome::Applied(reply),
            Err(error) => Outcome::Undecodable(error.to_string()),
        }
    }
}

fn unfit(in_force: CommandVersion, versions: Versions) -> io::Error {
    invalid(format!("{in_force} of the commands is in force, and this program applies {versions}"))
}

/// Reads what a snapshot stream starts with; the machine's own pieces are left. Refuses what a later program than one of
/// `versions` has left. An earlier one's is taken: the log may have raised the version before any command follows.
pub(super) fn read_own_part(
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

/// Whether a program of `versions` may go on from a state in which `in_force` is.
pub(super) fn check_not_newer(in_force: CommandVersion, versions: Versions) -> io::Result<()> {
    if in_force > versions.newest { Err(unfit(in_force, versions)) } else { Ok(()) }
}

/// A whole snapshot: the group's part before the machine's.
pub(super) fn view(own: Own, machine: Box<dyn SnapshotView>) -> Arc<dyn SnapshotView> {
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

pub(super) fn invalid(text: impl Into<String>) -> io::Error {
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
        state.apply_entry(&Entry { id, payload: Payload::Writes(Arc::new(proposal)) }).unwrap().0.remove(0)
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
        assert_eq!(state.own.time, LogTime(1_000_000), "the first entry sets it");
        applied(&mut state, 1, 999_000, 1);
        assert_eq!(state.own.time, LogTime(1_000_000));
        applied(&mut state, 2, u64::MAX, 1);
        assert_eq!(state.own.time, LogTime(1_060_000));
    }

    fn raise(to: u32) -> Write {
        Write { session: None, action: Action::RaiseVersion(CommandVersion(to)) }
    }

    fn propose(state: &mut State, index: u64, writes: Vec<Write>) -> io::Result<Outcomes> {
        let proposal = Proposal { stamped: LogTime(index), writes };
        let id = LogId { term: Term(1), index: crate::Index(index) };
        state.apply_entry(&Entry { id, payload: Payload::Writes(Arc::new(proposal)) })
    }

    #[test]
    fn a_program_that_does_not_know_the_version_in_force_applies_nothing_by_it() {
        let mut state = state();
        state.versions = Versions::new(0, 2);
        propose(&mut state, 0, vec![raise(1), raise(2), raise(1)]).unwrap();
        assert_eq!(state.version(), (CommandVersion(2), true), "it never goes back");
        let error = propose(&mut state, 1, vec![raise(3)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "version 3 of the commands is in force, and this program applies versions 0 to 2"
        );
        assert_eq!(state.last.map(|last| last.index.0), Some(0));
        // One that has forgotten the old ones can be told of a new one, and nothing else.
        let mut late = super::tests::state();
        late.versions = Versions::new(2, 3);
        let command = Write { session: None, action: Action::Apply(crate::machine::encode(&1u64)) };
        assert!(propose(&mut late, 0, vec![command.clone()]).is_err());
        propose(&mut late, 0, vec![raise(3), command]).unwrap();
    }

    #[test]
    fn a_snapshot_carries_the_version_in_force_and_a_program_that_is_too_old_refuses_it() {
        let mut source = state();
        source.versions = Versions::new(0, 2);
        let plain = source.view();
        propose(&mut source, 0, vec![raise(2)]).unwrap();
        let raised = source.view();
        let mut target = state();
        target.restore(plain.as_ref()).unwrap();
        assert!(target.restore(raised.as_ref()).is_err());
        target.versions = Versions::new(1, 2);
        target.restore(raised.as_ref()).unwrap();
        assert_eq!(target.version(), (CommandVersion(2), true));
        target.restore(plain.as_ref()).unwrap();
        assert_eq!(target.version(), (CommandVersion(0), false), "the log that follows may raise it");
    }
}
