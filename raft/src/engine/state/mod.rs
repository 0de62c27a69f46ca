//! What a replica has applied: the machine, the group's sessions, the log's time.
//!
//! - [`State`]: entries change it, queries are answered from it. `stream`: a snapshot of it, written and read.
//!
//! Promises: every committed entry is applied once, in order; a command that names a session takes effect once.
//! Leaves out: openraft's side of it, which is [`super::machine`]; how a durable machine is persisted, which is
//! [`super::durable`].

mod stream;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::digests::Task;
use super::types::{Outcome, Outcomes, StoredMembership, log_id_into, membership_into};
use crate::log::{Action, Entry, Payload, Proposal, Write};
use crate::machine::{CommandVersion, EntryContext, Machine, Undecodable, Versions};
use crate::planted::{self, Bug};
use crate::sessions::{Begin, Stamp, Table, digest};
use crate::snapshot::{RecordReader, SnapshotMeta, SnapshotView};
use crate::types::{LogId, LogTime};

pub(crate) use stream::edited;
pub(super) use stream::{invalid, read_own_part, view};

/// One entry moves the log's time by at most this much, so that one wrong clock cannot expire every session at once.
const TIME_STEP_MAX: Duration = Duration::from_secs(60);

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

/// Whether a program of `versions` may go on from a state in which `in_force` is.
pub(super) fn check_not_newer(in_force: CommandVersion, versions: Versions) -> io::Result<()> {
    if in_force > versions.newest { Err(unfit(in_force, versions)) } else { Ok(()) }
}
