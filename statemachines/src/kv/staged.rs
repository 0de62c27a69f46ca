//! The copy of a shard that is being pulled.

use quorate::planted::{self, Bug};
use quorate::types::Index;

use super::contents::Contents;
use super::marks::Item;
use super::transfer::{Applied, Chunk, Delta, Reached};
use crate::names::ConfigNumber;

/// A copy under way: chunks first, each where the last one ended; then deltas, each from where the last one ended, the
/// first from the smallest index of any chunk.
///
/// Why the smallest: a change up to there is in every chunk that it concerns, and a change after it is in a delta. A
/// replica that lags may give an older state of a key than the copy holds already; its later change is then in a later
/// delta, because the mark of a key's last change is above every index that such a replica can answer up to.
#[derive(Clone, Debug)]
pub(super) struct Staged {
    /// Which loss of the source it is a copy of; known from the first chunk on.
    pub(super) lost_at: Option<ConfigNumber>,
    /// Where it ends.
    pub(super) after: Option<Item>,
    /// Whether all chunks are in.
    pub(super) copied: bool,
    /// How far it has followed the source, counted from the smallest index of its chunks.
    pub(super) reached: Option<Reached>,
    /// The source's entry that froze the shard, as far as known.
    pub(super) frozen_at: Option<Index>,
    pub(super) contents: Contents,
}

impl Staged {
    pub(super) fn new(contents: Contents) -> Self {
        Staged { lost_at: None, after: None, copied: false, reached: None, frozen_at: None, contents }
    }

    /// Whether it is the shard as it was when the source froze it: it may be served.
    pub(super) fn is_whole(&self) -> bool {
        self.copied
            && self.frozen_at.is_some_and(|frozen_at| self.reached.is_some_and(|reached| reached.index >= frozen_at))
    }

    /// Takes in a chunk of the loss that this is a copy of; says whether it fits.
    pub(super) fn take_chunk(&mut self, chunk: Chunk, at: Applied) -> bool {
        if self.copied || chunk.after != self.after {
            return false;
        }
        self.lost_at = Some(chunk.lost_at);
        self.after = chunk.through;
        self.copied = chunk.done;
        let index = self.reached.map_or(chunk.index, |reached| reached.index.min(chunk.index));
        self.reached = Some(Reached::start(index));
        self.frozen_at = self.frozen_at.or(chunk.frozen_at);
        for session in chunk.sessions {
            self.contents.sessions.merge(session, at.time, at.index);
        }
        for (key, value) in chunk.keys {
            self.contents.put(key, value);
        }
        true
    }

    /// Takes in a delta of the loss that this is a copy of; says whether it fits.
    pub(super) fn take_delta(&mut self, delta: Delta, at: Applied) -> bool {
        let fits = self.reached == Some(delta.from) || planted::is(Bug::DeltaOutOfPlace);
        if !self.copied || !fits {
            return false;
        }
        self.reached = Some(delta.to);
        self.frozen_at = self.frozen_at.or(delta.frozen_at);
        if planted::is(Bug::NoFreeze) {
            self.frozen_at = Some(delta.to.index);
        }
        if planted::is(Bug::LastDeltaForgotten) && delta.is_last() {
            return true;
        }
        for session in delta.sessions {
            self.contents.sessions.merge(session, at.time, at.index);
        }
        for client in delta.sessions_gone {
            self.contents.sessions.remove(&client);
        }
        for (key, value) in delta.keys {
            match value {
                Some(value) => self.contents.put(key, value),
                None if planted::is(Bug::TombstonesNotCopied) => {}
                None => _ = self.contents.remove(&key),
            }
        }
        true
    }
}
