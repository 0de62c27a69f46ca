//! One client's session: which numbers were carried out, and with which replies.

use bytes::Bytes;
use imbl::OrdMap;

use super::records::{KeptReply, SessionRecord};
use super::stamp::Refusal;
use crate::planted::{self, Bug};
use crate::types::{ClientId, Index, LogTime};

/// How many replies of one client are kept, and how far below the highest number an unseen one is still carried out.
pub const WINDOW: u64 = 1024;

/// What is to be done with a command, as its session sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Not seen before: carry it out, then [`super::Table::record`] its reply.
    Fresh,
    /// Carried out before: this was the reply.
    Replay(Bytes),
    /// Not to be carried out.
    Refused(Refusal),
}

/// Invariants: at most [`WINDOW`] replies; every kept number is above `acked` and at most `highest`; a number that was
/// carried out and is not kept is at or below `acked`, or at least [`WINDOW`] below `highest`.
///
/// Which replies are kept does not depend on the order in which they came: a reply is forgotten exactly when it is
/// acknowledged or [`WINDOW`] higher numbers have been recorded. So a copy may take them in any order.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Session {
    /// The entry that opened it: tells this session from an expired one of the same client.
    pub(super) opened: Index,
    pub(super) last_used: LogTime,
    pub(super) highest: Option<u64>,
    pub(super) acked: Option<u64>,
    pub(super) replies: OrdMap<u64, KeptReply>,
}

impl Session {
    pub(super) fn new(opened: Index, now: LogTime) -> Self {
        Session { opened, last_used: now, highest: None, acked: None, replies: OrdMap::new() }
    }

    /// The session as the table holds it.
    pub(super) fn record(self, client: ClientId) -> SessionRecord {
        SessionRecord {
            client,
            opened: self.opened,
            last_used: self.last_used,
            highest: self.highest,
            acked: self.acked,
            replies: self.replies.values().cloned().collect(),
        }
    }

    pub(super) fn judge(&self, seq: u64, digest: u64) -> Begin {
        if let Some(kept) = self.replies.get(&seq)
            && !planted::is(Bug::NoDedupe)
        {
            return if let Some((_, newest)) = self.replies.get_max()
                && planted::is(Bug::WrongReplyKept)
            {
                Begin::Replay(newest.reply.clone())
            } else if kept.digest == digest {
                Begin::Replay(kept.reply.clone())
            } else {
                Begin::Refused(Refusal::Reused)
            };
        }
        let acknowledged = self.acked.is_some_and(|acked| seq <= acked);
        let too_old = self.highest.is_some_and(|highest| highest.saturating_sub(seq) >= WINDOW);
        if acknowledged || too_old { Begin::Refused(Refusal::BelowWindow) } else { Begin::Fresh }
    }

    /// Forgets the replies up to `acked`.
    pub(super) fn acknowledge(&mut self, acked: Option<u64>) {
        if acked <= self.acked {
            return;
        }
        self.acked = acked;
        while let Some((seq, _)) = self.replies.get_min().cloned()
            && Some(seq) <= acked
        {
            self.replies.remove(&seq);
        }
    }

    /// Keeps the reply of a number, and forgets the one that it pushes out of the window.
    pub(super) fn keep(&mut self, kept: KeptReply) {
        self.highest = self.highest.max(Some(kept.seq));
        if Some(kept.seq) <= self.acked {
            return;
        }
        self.replies.insert(kept.seq, kept);
        if self.replies.len() as u64 > WINDOW
            && let Some((lowest, _)) = self.replies.get_min().cloned()
        {
            self.replies.remove(&lowest);
        }
    }
}
