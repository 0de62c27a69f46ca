//! Durable machines: they own a store, and what they have applied need not fit into memory.
//!
//! What a memory machine has applied is made again from the newest snapshot and the log. A durable one is *persisted* now and
//! then: its changes since the last time, together with an envelope that says which entry they end at, in one atomic batch.
//! The log is purged behind that entry, never beyond it; after a restart only what follows it is replayed.
//!
//! Promises: a crash at any point leaves what was persisted last, whole; the log is not purged before the batch is synced.
//! Asks of the machine: `apply` does not write to the store, it collects changes in memory; what it cannot read it reports
//! by [`Durable::fault`], since a reply cannot: the replica then stops, and gives no answer that rests on it. A flush of a
//! replica that was stopped may still run while a new machine is opened on the same store: it must fail, or be waited for.
//! Leaves out: taking a group over alone ([`crate::Host::take_over`]), which replays what may never be committed.

use std::io;

use bytes::Bytes;

use crate::snapshot::{SnapshotReader, SnapshotView};

/// The durable side of a machine (see [`crate::StateMachine::durable`]).
///
/// The engine does one thing at a time: it takes a [`Flush`] or an [`Intake`], runs it on a thread that may block while the
/// machine goes on, and calls [`Durable::settle`] once that has succeeded. After a failure the replica stops.
pub trait Durable: Send + Sync {
    /// The envelope that was persisted last, if any was: what this machine held when it was opened goes with it.
    fn persisted(&self) -> Option<Bytes>;

    /// How much memory is taken by changes that are not persisted.
    fn backlog(&self) -> Backlog;

    /// Why the store can no longer be trusted or read. Once there is a fault it stays, and nothing is persisted any more.
    fn fault(&self) -> Option<String>;

    /// Sets the changes since the last flush aside to be persisted. Called between two applies; expected to be cheap.
    fn freeze(&mut self) -> Box<dyn Flush>;

    /// Prepares to take a snapshot in, beside the state that is there.
    fn intake(&mut self) -> Box<dyn Intake>;

    /// The last flush or intake has ended well: what it left in the store takes the place of what was in memory; after an
    /// intake, of the whole state. Expected to be cheap.
    fn settle(&mut self);
}

/// How much is waiting to be persisted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backlog {
    /// It may wait.
    #[default]
    Little,
    /// The machine wants to be persisted.
    Much,
    /// Nothing more is applied before it is.
    TooMuch,
}

/// Changes on their way to the store.
pub trait Flush: Send {
    /// Writes them, together with `envelope`, in one atomic batch, and returns when that is synced. Blocks.
    ///
    /// Gives the state that is persisted, as [`crate::StateMachine::snapshot`] would have when the changes were set aside.
    ///
    /// # Errors
    /// When the store did not take them; what was persisted before is still there.
    fn run(self: Box<Self>, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>>;
}

/// A snapshot on its way into the store.
pub trait Intake: Send {
    /// Writes what `reader` gives, in batches of bounded size, and switches to it in the last one, which holds `envelope`
    /// and is synced. Blocks. Gives the state that is persisted then.
    ///
    /// # Errors
    /// When the stream is damaged or the store failed; what was persisted before is still there.
    fn run(self: Box<Self>, reader: &mut dyn SnapshotReader, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>>;
}
