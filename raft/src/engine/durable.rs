//! How a replica's state is persisted where its machine is durable, and found again.
//!
//! Promises: what is in the store is the state at exactly the entry that its envelope names; whoever starts on it replays
//! the log from there on.
//! Leaves out: when (see [`super::compaction`]), and on which thread (see [`super::machine`]).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::state::{State, invalid, read_own_part, view};
use super::types::{StoredMembership, log_id_from, log_id_into, membership_from, membership_into};
use crate::machine::{Backlog, Flush, Intake, decode, encode};
use crate::sessions::{SessionRecord, Table};
use crate::snapshot::{RecordReader, Snapshot, SnapshotMeta, SnapshotView};
use crate::types::LogTime;

/// The version of the envelope.
const VERSION: u32 = 1;

/// The group's own part of what a durable machine persists.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    meta: SnapshotMeta,
    time: LogTime,
    sessions: Vec<SessionRecord>,
}

/// A state that is to be persisted.
pub(super) struct Frozen {
    meta: SnapshotMeta,
    time: LogTime,
    sessions: Table,
    flush: Box<dyn Flush>,
}

/// A snapshot that is to be taken in.
pub(super) struct Incoming {
    session_ttl: Duration,
    intake: Box<dyn Intake>,
}

/// A snapshot that the store has taken in.
pub(super) struct Taken {
    time: LogTime,
    sessions: Table,
    pub(super) snapshot: Snapshot,
}

impl Frozen {
    /// Blocks until it is synced. Gives what is persisted as a snapshot that shares the store's data.
    pub(super) fn run(self) -> io::Result<Snapshot> {
        let envelope = envelope(&self.meta, self.time, &self.sessions);
        let machine = self.flush.run(envelope)?;
        Ok(Snapshot { meta: self.meta, view: view(self.time, self.sessions, machine) })
    }
}

impl Incoming {
    /// Blocks until the store holds all of it, synced.
    pub(super) fn run(self, meta: SnapshotMeta, from: &dyn SnapshotView) -> io::Result<Taken> {
        let mut stream = from.open();
        let mut records = RecordReader::new(stream.as_mut());
        let (time, sessions) = read_own_part(&mut records, self.session_ttl)?;
        let machine = self.intake.run(&mut records, envelope(&meta, time, &sessions))?;
        let snapshot = Snapshot { meta, view: view(time, sessions.clone(), machine) };
        Ok(Taken { time, sessions, snapshot })
    }
}

fn envelope(meta: &SnapshotMeta, time: LogTime, sessions: &Table) -> bytes::Bytes {
    let sessions = sessions.records().collect();
    encode(&Envelope { version: VERSION, meta: meta.clone(), time, sessions })
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
        let envelope: Envelope = decode(&persisted).map_err(|error| invalid(format!("persisted envelope: {error}")))?;
        if envelope.version != VERSION {
            return Err(invalid(format!(
                "a state persisted by version {}; this node reads {VERSION}",
                envelope.version
            )));
        }
        let Envelope { meta, time, sessions, .. } = envelope;
        let mut table = Table::new(self.session_ttl);
        sessions.into_iter().for_each(|record| table.restore(record));
        self.time = time;
        self.sessions = table;
        self.stand_at(&meta);
        Ok(Some(Snapshot { meta, view: self.view() }))
    }

    /// Sets aside what is not yet persisted; `None` when the machine is not durable.
    pub(super) fn freeze(&mut self) -> Option<Frozen> {
        let meta = self.meta();
        let (time, sessions) = (self.time, self.sessions.clone());
        let flush = self.machine.durable_mut()?.freeze();
        Some(Frozen { meta, time, sessions, flush })
    }

    /// Prepares to take a snapshot in; `None` when the machine is not durable.
    pub(super) fn intake(&mut self) -> Option<Incoming> {
        let session_ttl = self.session_ttl;
        let intake = self.machine.durable_mut()?.intake();
        Some(Incoming { session_ttl, intake })
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
        self.time = taken.time;
        self.sessions = taken.sessions;
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
