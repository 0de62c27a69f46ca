//! How a replica's state is persisted where its machine is durable, and found again.
//!
//! Promises: what is in the store is the state at exactly the entry that its envelope names; whoever starts on it replays
//! the log from there on.
//! Leaves out: when (see [`super::compaction`]), and on which thread (see [`super::machine`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::{Own, State, check_not_newer, invalid, read_own_part, view};
use super::types::{StoredMembership, log_id_from, log_id_into, membership_from, membership_into};
use crate::machine::{Backlog, CommandVersion, Flush, Intake, Versions, decode, encode};
use crate::sessions::{SessionRecord, Table};
use crate::snapshot::{RecordReader, Snapshot, SnapshotMeta, SnapshotView};
use crate::types::LogTime;

/// The versions of the envelope. The second also says which version of the commands is in force; it is not written while that
/// is 0.
const VERSIONS: [u32; 2] = [1, 2];

/// The group's own part of what a durable machine persists.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    meta: SnapshotMeta,
    time: LogTime,
    sessions: Vec<SessionRecord>,
}

/// What an envelope of the second version has after the first one's part.
type Raised = (Envelope, CommandVersion);

/// A state that is to be persisted.
pub(super) struct Frozen {
    meta: SnapshotMeta,
    own: Own,
    flush: Box<dyn Flush>,
}

/// A snapshot that is to be taken in.
pub(super) struct Incoming {
    session_ttl: Duration,
    versions: Versions,
    intake: Box<dyn Intake>,
}

/// A snapshot that the store has taken in.
pub(super) struct Taken {
    own: Own,
    pub(super) snapshot: Snapshot,
}

impl Frozen {
    /// Blocks until it is synced. Gives what is persisted as a snapshot that shares the store's data.
    pub(super) fn run(self) -> io::Result<Snapshot> {
        let machine = self.flush.run(envelope(&self.meta, &self.own))?;
        Ok(Snapshot { meta: self.meta, view: view(self.own, machine) })
    }
}

impl Incoming {
    /// Blocks until the store holds all of it, synced.
    pub(super) fn run(self, meta: SnapshotMeta, from: &dyn SnapshotView) -> io::Result<Taken> {
        let mut stream = from.open();
        let mut records = RecordReader::new(stream.as_mut());
        let own = read_own_part(&mut records, self.session_ttl, self.versions)?;
        let machine = self.intake.run(&mut records, envelope(&meta, &own))?;
        let snapshot = Snapshot { meta, view: view(own.clone(), machine) };
        Ok(Taken { own, snapshot })
    }
}

fn envelope(meta: &SnapshotMeta, own: &Own) -> bytes::Bytes {
    let raised = own.version > CommandVersion::default();
    let version = VERSIONS[usize::from(raised)];
    let sessions = own.sessions.records().collect();
    let envelope = Envelope { version, meta: meta.clone(), time: own.time, sessions };
    if raised { encode(&(envelope, own.version)) } else { encode(&envelope) }
}

fn read_envelope(bytes: &[u8]) -> io::Result<Raised> {
    let damaged = |error| invalid(format!("persisted envelope: {error}"));
    // postcard writes the version first, in one byte as long as there are few of them.
    match bytes.first().map(|version| u32::from(*version)) {
        Some(1) => Ok((decode(bytes).map_err(damaged)?, CommandVersion::default())),
        Some(2) => decode(bytes).map_err(damaged),
        other => Err(invalid(format!("a state persisted by version {other:?}; this node reads {VERSIONS:?}"))),
    }
}

impl State {
    /// What a snapshot of it stands for.
    pub(super) fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last: self.last,
            membership: membership_from(self.membership.membership()),
            membership_at: self.membership.log_id().map(log_id_from),
        }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.machine.durable().is_some()
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.machine.durable()?.fault()
    }

    pub(super) fn backlog(&self) -> Backlog {
        self.machine.durable().map(|durable| durable.backlog()).unwrap_or_default()
    }

    /// Goes on from what its machine has persisted in an earlier life. Gives it as a snapshot, if there is any.
    pub(super) fn resume(&mut self) -> io::Result<Option<Snapshot>> {
        let Some(persisted) = self.machine.durable().and_then(|durable| durable.persisted()) else { return Ok(None) };
        let (Envelope { meta, time, sessions, .. }, version) = read_envelope(&persisted)?;
        check_not_newer(version, self.versions())?;
        let mut table = Table::new(self.session_ttl);
        sessions.into_iter().for_each(|record| table.restore(record));
        self.own = Own { time, version, sessions: table };
        self.stand_at(&meta);
        Ok(Some(Snapshot { meta, view: self.view() }))
    }

    /// Sets aside what is not yet persisted; `None` when the machine is not durable.
    pub(super) fn freeze(&mut self) -> Option<Frozen> {
        let meta = self.meta();
        let own = self.own.clone();
        let flush = self.machine.durable_mut()?.freeze();
        Some(Frozen { meta, own, flush })
    }

    /// Prepares to take a snapshot in; `None` when the machine is not durable.
    pub(super) fn intake(&mut self) -> Option<Incoming> {
        let (session_ttl, versions) = (self.session_ttl, self.versions());
        let intake = self.machine.durable_mut()?.intake();
        Some(Incoming { session_ttl, versions, intake })
    }

    /// What was set aside is persisted.
    pub(super) fn settle(&mut self) {
        if let Some(durable) = self.machine.durable_mut() {
            durable.settle();
        }
    }

    /// Becomes what was taken in.
    pub(super) fn become_taken(&mut self, taken: Taken) -> Snapshot {
        self.settle();
        self.own = taken.own;
        self.stand_at(&taken.snapshot.meta);
        taken.snapshot
    }

    pub(super) fn stand_at(&mut self, meta: &SnapshotMeta) {
        self.last = meta.last;
        self.membership = StoredMembership::new(meta.membership_at.map(log_id_into), membership_into(&meta.membership));
    }
}

/// Runs what may block, on a thread of its own unless time is simulated.
pub(super) async fn blocking<T: Send + 'static>(
    inline: bool,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if inline {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The view of a snapshot, to be read on another thread.
pub(super) type View = Arc<dyn SnapshotView>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_says_which_version_of_the_commands_is_in_force_and_is_the_old_one_where_none_was_raised() {
        let own = |version| {
            let sessions = Table::new(Duration::from_secs(60));
            Own { time: LogTime(7), version: CommandVersion(version), sessions }
        };
        let meta = SnapshotMeta::default();
        let old = envelope(&meta, &own(0));
        assert_eq!(old[..], [1, 0, 0, 0, 0, 7, 0], "as it was before commands had versions");
        assert_eq!(read_envelope(&old).unwrap().1, CommandVersion(0));
        let raised = envelope(&meta, &own(300));
        assert_eq!(raised[0], 2);
        let (envelope, version) = read_envelope(&raised).unwrap();
        assert_eq!((envelope.time, version), (LogTime(7), CommandVersion(300)));
        for damaged in [&[][..], &[3, 0], &raised[..raised.len() - 1], &[&raised[..], &[0]].concat()] {
            assert!(read_envelope(damaged).is_err());
        }
    }
}
