//! The log's port: entries, and where a replica keeps them together with its vote.
//!
//! Promises of an adapter: calls take effect in the order they are made; what a completed flush covered survives a
//! crash, and so does everything queued before it (one FIFO); entries are readable as soon as `append` returns.
//! Leaves out: what entries mean, and when to purge.

pub mod disk;
mod memory;

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::machine::CommandVersion;
use crate::sessions::Stamp;
use crate::types::{Index, LogId, LogTime, Membership, Vote};

pub use disk::{DiskLog, DiskLogOptions};
pub use memory::MemoryLog;

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Where it stands and whose it is.
    pub id: LogId,
    /// What it carries.
    pub payload: Payload,
}

impl Entry {
    /// The same entry, but that a proposal says that it was made at `time`: what a planted bug applies.
    pub(crate) fn stamped(&self, time: LogTime) -> Entry {
        let mut entry = self.clone();
        if let Payload::Writes(proposal) = &mut entry.payload {
            Arc::make_mut(proposal).stamped = time;
        }
        entry
    }

    /// About how many bytes the entry takes, in memory and on a disk.
    pub fn size(&self) -> u64 {
        const OVERHEAD: u64 = 32;
        OVERHEAD
            + match &self.payload {
                Payload::Blank => 0,
                Payload::Writes(proposal) => proposal.size(),
                Payload::Membership(membership) => {
                    8 * (membership.voter_ids().len() + membership.learners.len()) as u64
                }
            }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.payload)
    }
}

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a new leader's first entry, which commits what came before it (thesis §3.6.2).
    Blank,
    /// Commands for the machine, and sessions to open. Shared: an entry is copied on its way to each follower and to the
    /// machine.
    Writes(Arc<Proposal>),
    /// A change of who replicates the group. Boxed: it is rare, and entries are moved about.
    Membership(Box<Membership>),
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Blank => f.write_str("blank"),
            Payload::Writes(proposal) => write!(f, "{proposal}"),
            Payload::Membership(membership) => write!(f, "{membership}"),
        }
    }
}

/// Writes that their leader proposed together: committed together, carried out one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's wall clock in milliseconds when it proposed; `apply` makes the log's time of it.
    pub stamped: LogTime,
    /// The writes in their order.
    pub writes: Vec<Write>,
}

impl Proposal {
    /// About how many bytes it takes.
    pub fn size(&self) -> u64 {
        self.writes.iter().map(Write::size).sum()
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.writes.as_slice() {
            [only] => write!(f, "{only}"),
            writes => write!(f, "{} writes of {} bytes", writes.len(), self.size()),
        }
    }
}

/// One write: what a caller wants done, once if it names a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The session that makes it happen once, if any.
    pub session: Option<Stamp>,
    /// What to do.
    pub action: Action,
}

impl Write {
    /// About how many bytes it takes.
    pub fn size(&self) -> u64 {
        let session = self.session.as_ref().map_or(0, |stamp| stamp.client.0.len() + 24);
        (session + self.action.size()) as u64
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Apply(command) => write!(f, "command of {} bytes", command.len()),
            Action::OpenSession(client) => write!(f, "open session {client}"),
            Action::RaiseVersion(version) => write!(f, "raise to {version}"),
            Action::Digest => f.write_str("compare states"),
            Action::Verdict(verdict) => write!(f, "verdict on entry {}", verdict.at),
        }
    }
}

/// What a write asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Apply an encoded command to the machine.
    Apply(Bytes),
    /// Open a session for this client; nothing changes if it is open.
    OpenSession(crate::types::ClientId),
    /// From here on this version of the machine's commands is in force, unless a later one is.
    RaiseVersion(CommandVersion),
    /// Every replica is to compute the digest of its state here.
    Digest,
    /// What the digests at an earlier entry say.
    Verdict(Verdict),
}

/// The outcome of a comparison of replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The entry at which states were compared.
    pub at: Index,
    /// The digest of the majority; a replica with another one stops. Without it no majority agreed, and all stop.
    pub expected: Option<u64>,
}

impl Action {
    fn size(&self) -> usize {
        match self {
            Action::Apply(command) => command.len(),
            Action::OpenSession(client) => client.0.len(),
            Action::RaiseVersion(_) => 4,
            Action::Digest => 0,
            Action::Verdict(_) => 16,
        }
    }
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The newest entry that was purged: a snapshot covers it and all before it.
    pub purged: Option<LogId>,
    /// The newest entry, purged or held.
    pub last: Option<LogId>,
}

/// The log takes no entries because its disk is full. Nothing is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log's disk is full: {0}")]
pub struct Full(pub String);

/// Called once an append is durable, from any thread. An error is final: the group stops.
pub struct Flushed(Box<dyn FnOnce(io::Result<()>) + Send>);

impl Flushed {
    /// Calls `done` when the flush has ended.
    pub fn new(done: impl FnOnce(io::Result<()>) + Send + 'static) -> Self {
        Flushed(Box::new(done))
    }

    /// Reports how the flush ended.
    pub fn complete(self, result: io::Result<()>) {
        (self.0)(result);
    }
}

impl fmt::Debug for Flushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flushed")
    }
}

/// One replica's log and vote: the port. Each adapter passes `tests/conformance` and the consensus core's own storage suite
/// (`engine::suite`).
///
/// Every error is final for the replica: the group stops on this node.
#[async_trait::async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// What the log holds.
    async fn state(&self) -> io::Result<LogState>;

    /// The entries from `from` (included) to `to` (excluded), as many of them as are held, in order.
    async fn read(&self, from: Index, to: Index) -> io::Result<Vec<Entry>>;

    /// Appends entries whose indexes follow each other, replacing any held from the first one's index on. They are
    /// readable when this returns; `flushed` is called when they are durable.
    ///
    /// # Errors
    /// When they would leave a gap or touch purged entries; nothing has changed then, and `flushed` is not called.
    async fn append(&self, entries: Vec<Entry>, flushed: Flushed) -> io::Result<()>;

    /// Drops all entries after `last` (all entries when `None`).
    async fn truncate_after(&self, last: Option<LogId>) -> io::Result<()>;

    /// Drops all entries up to `through`, which a snapshot covers.
    async fn purge(&self, through: LogId) -> io::Result<()>;

    /// Saves the vote. When it returns, the vote and all that was queued before it are durable.
    async fn save_vote(&self, vote: Vote) -> io::Result<()>;

    /// The vote last saved.
    async fn vote(&self) -> io::Result<Option<Vote>>;

    /// Remembers what is committed, to apply it sooner after a restart. Need not be durable.
    async fn save_committed(&self, committed: Option<LogId>) -> io::Result<()>;

    /// What was last remembered as committed.
    async fn committed(&self) -> io::Result<Option<LogId>>;

    /// About how many bytes the held entries take.
    fn bytes(&self) -> u64;

    /// Whether about so many bytes of new entries are welcome. To be asked before anything is proposed or accepted from a
    /// leader: once entries are appended, an error stops the group.
    ///
    /// # Errors
    /// [`Full`] as long as the disk is; asking again is how one learns that it is not any more.
    fn admits(&self, bytes: u64) -> Result<(), Full> {
        let _ = bytes;
        Ok(())
    }
}
