//! The state machine: what a user of the library writes, and the bytes that the library sees.
//!
//! Promises to the machine: every replica applies the same commands in the same order, each once; what `apply` changed
//! is there again after a restart (replayed from a snapshot and the log).
//! Asks of the machine: `apply` is deterministic. It sees its state and the entry, never a clock, a random number, a
//! file, or the iteration order of a hash map; two replicas that differ by one byte are a bug that no retry mends.
//! A machine whose state is to outgrow memory, or to be there at once after a restart, is [`Durable`].
//! Leaves out: sessions (see [`crate::sessions`]) and consistency (see [`crate::reads`]), which come from outside.

mod digest;
mod durable;
mod versions;

use std::any::Any;
use std::cell::Cell;
use std::io;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::snapshot::{SnapshotReader, SnapshotView};
use crate::types::{Index, LogTime, Term};

pub use digest::{StateDigest, snapshot_digest};
pub use durable::{Backlog, Durable, Flush, Intake};
pub use versions::{CommandVersion, Versions};

/// All that `apply` may know besides the state and the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryContext {
    /// The entry's index in the group's log. Commands that were proposed together share an entry; together with `place`
    /// it grows with every applied command and never repeats.
    pub index: Index,
    /// The command's place among those of its entry, from 0.
    pub place: u32,
    /// The term of the leader that proposed it.
    pub term: Term,
    /// The log's time: never goes back from one entry to the next.
    pub time: LogTime,
}

/// A deterministic state machine with typed commands and queries.
///
/// The messages are encoded with postcard, so a message's serde form must not need a self-describing format.
/// The complete example is `raft/examples/counter.rs`.
pub trait StateMachine: Send + Sync + 'static {
    /// A change of the state. It travels through the log.
    type Command: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What `apply` answers. Refusals of the business ("no such account") are ordinary replies.
    type Reply: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// A question that changes nothing. It never enters the log.
    type Query: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// What `query` answers.
    type Answer: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Carries out one committed command. Deterministic (see the module's text); must not panic on any command.
    fn apply(&mut self, entry: EntryContext, command: Self::Command) -> Self::Reply;

    /// The versions of commands that this program can apply. A machine says the same all its life.
    ///
    /// The version in force is the group's, see [`crate::Group::raise_version`]; a replica whose program cannot apply it
    /// stops.
    fn versions(&self) -> Versions {
        Versions::default()
    }

    /// The first version that has this command. Where an earlier one is in force it is not carried out, on any replica: one
    /// whose program does not know it could not.
    fn version_of(&self, command: &Self::Command) -> CommandVersion {
        let _ = command;
        CommandVersion::default()
    }

    /// Carries out one committed command as `version`, which is in force, has it: what a machine that knows several versions
    /// implements beside `apply`, which is not called then.
    fn apply_as(&mut self, version: CommandVersion, entry: EntryContext, command: Self::Command) -> Self::Reply {
        let _ = version;
        self.apply(entry, command)
    }

    /// A digest of the state as it is, by which replicas are compared ([`crate::Group::compare_states`]); `None` when this
    /// machine cannot be compared. Called between two applies and expected to be cheap; the digest is computed later. Equal
    /// states must give equal digests on every machine, whether they came from the log or from a snapshot.
    fn digest(&self) -> Option<StateDigest> {
        None
    }

    /// Answers from the state as it is.
    fn query(&self, query: Self::Query) -> Self::Answer;

    /// A point-in-time view of the state. Called between two applies and expected to be cheap (O(1) with a persistent
    /// map); the view is read later, while further commands are applied, and must not see them.
    fn snapshot(&self) -> Box<dyn SnapshotView>;

    /// Replaces the whole state by what a view of this type wrote.
    ///
    /// # Errors
    /// When the stream is damaged or of an unknown version; the group then stops rather than run on half a state.
    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()>;

    /// Its durable side, if it has one. A machine says the same all its life.
    fn durable(&self) -> Option<&dyn Durable> {
        None
    }

    /// The same, to be changed.
    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        None
    }
}

/// A command or a query that this machine cannot decode: another version's, or not its own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("undecodable message: {0}")]
pub struct Undecodable(pub String);

/// A state machine as the library holds it: bytes in, bytes out, object-safe, so that one host can hold groups of
/// different machines and the consensus core is compiled once.
pub trait Machine: Send + Sync + 'static {
    /// [`StateMachine::apply`] on encoded messages. A command that cannot be decoded changes nothing, on any replica.
    fn apply(&mut self, entry: EntryContext, command: &[u8]) -> Result<Bytes, Undecodable>;
    /// [`StateMachine::versions`].
    fn versions(&self) -> Versions {
        Versions::default()
    }
    /// [`StateMachine::apply_as`] on encoded messages. A command of a later version changes nothing either.
    fn apply_as(&mut self, version: CommandVersion, entry: EntryContext, command: &[u8]) -> Result<Bytes, Undecodable> {
        let _ = version;
        self.apply(entry, command)
    }
    /// [`StateMachine::digest`].
    fn digest(&self) -> Option<StateDigest> {
        None
    }
    /// [`StateMachine::query`] on encoded messages.
    fn query(&self, query: &[u8]) -> Result<Bytes, Undecodable>;
    /// [`StateMachine::snapshot`].
    fn snapshot(&self) -> Box<dyn SnapshotView>;
    /// [`StateMachine::restore`].
    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()>;
    /// [`StateMachine::durable`].
    fn durable(&self) -> Option<&dyn Durable> {
        None
    }
    /// [`StateMachine::durable_mut`].
    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        None
    }
    /// The typed machine behind the bytes, for those on its own node who know its type.
    fn as_any(&self) -> &dyn Any;
}

/// The bytes' side of a typed machine.
#[derive(Debug, Default)]
pub struct Typed<M>(pub M);

impl<M: StateMachine> Machine for Typed<M> {
    fn apply(&mut self, entry: EntryContext, command: &[u8]) -> Result<Bytes, Undecodable> {
        let command = decode(command)?;
        Ok(encode(&self.0.apply(entry, command)))
    }

    fn versions(&self) -> Versions {
        self.0.versions()
    }

    fn digest(&self) -> Option<StateDigest> {
        self.0.digest()
    }

    fn apply_as(&mut self, version: CommandVersion, entry: EntryContext, command: &[u8]) -> Result<Bytes, Undecodable> {
        let command = decode(command)?;
        let since = self.0.version_of(&command);
        if since > version {
            return Err(Undecodable(format!("a command of {since}; {version} is in force")));
        }
        Ok(encode(&self.0.apply_as(version, entry, command)))
    }

    fn query(&self, query: &[u8]) -> Result<Bytes, Undecodable> {
        let query = decode(query)?;
        Ok(encode(&self.0.query(query)))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        self.0.snapshot()
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.0.restore(reader)
    }

    fn durable(&self) -> Option<&dyn Durable> {
        self.0.durable()
    }

    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        self.0.durable_mut()
    }

    fn as_any(&self) -> &dyn Any {
        &self.0
    }
}

/// Messages up to this size are copied out of the buffer.
const SMALL: usize = 1024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes a message of a state machine.
///
/// # Panics
/// When the message's own `Serialize` fails, which postcard's growing buffer leaves as the only cause: a bug of the type.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    // Most messages are small: written to a buffer that is kept, they take one allocation of their own size.
    let buffer = BUFFER.take();
    match postcard::to_extend(message, buffer) {
        Ok(mut bytes) if bytes.len() <= SMALL => {
            let message = Bytes::copy_from_slice(&bytes);
            bytes.clear();
            BUFFER.set(bytes);
            message
        }
        Ok(bytes) => Bytes::from(bytes),
        Err(error) => panic!("a message's Serialize failed: {error}"),
    }
}

/// Decodes a message of a state machine; bytes left over are an error too.
///
/// # Errors
/// [`Undecodable`] when the bytes are not a `T`.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(Undecodable(format!("{} bytes left over", rest.len()))),
        Err(error) => Err(Undecodable(error.to_string())),
    }
}
