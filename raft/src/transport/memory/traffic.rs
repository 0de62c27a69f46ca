//! What was sent, by kind of request.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::log::Write;
use crate::transport::Request;

/// The kinds of requests that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RequestKind {
    /// AppendEntries with entries.
    Append,
    /// AppendEntries without.
    Heartbeat,
    /// RequestVote.
    Vote,
    /// The question before a candidacy.
    PreVote,
    /// Leadership handed over.
    Transfer,
    /// A piece of a snapshot.
    Snapshot,
    /// A read index asked for.
    ReadIndex,
    /// Writes handed on to the leader.
    Write,
    /// A read handed on to the leader.
    Read,
    /// A change of membership or leadership handed on to the leader.
    Admin,
    /// Who leads.
    WhoLeads,
    /// A wait for what is applied.
    Applied,
    /// A replica's state asked for.
    Describe,
    /// A leader's last round before its group falls quiet.
    Quiesce,
    /// A quiet leader to be woken.
    Wake,
    /// A node's sign of life asked for.
    Ping,
    /// The versions of commands that a program can apply.
    Versions,
    /// The digest of a replica's state.
    Digest,
}

impl RequestKind {
    const ALL: [RequestKind; 18] = [
        RequestKind::Append,
        RequestKind::Heartbeat,
        RequestKind::Vote,
        RequestKind::PreVote,
        RequestKind::Transfer,
        RequestKind::Snapshot,
        RequestKind::ReadIndex,
        RequestKind::Write,
        RequestKind::Read,
        RequestKind::Admin,
        RequestKind::WhoLeads,
        RequestKind::Applied,
        RequestKind::Describe,
        RequestKind::Quiesce,
        RequestKind::Wake,
        RequestKind::Ping,
        RequestKind::Versions,
        RequestKind::Digest,
    ];

    /// The kind of `request`.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Append(append) if append.entries.is_empty() => RequestKind::Heartbeat,
            Request::Append(_) => RequestKind::Append,
            Request::Vote(_) => RequestKind::Vote,
            Request::PreVote(_) => RequestKind::PreVote,
            Request::Transfer { .. } => RequestKind::Transfer,
            Request::Snapshot(_) => RequestKind::Snapshot,
            Request::ReadIndex => RequestKind::ReadIndex,
            Request::Write(_) => RequestKind::Write,
            Request::Read(_) => RequestKind::Read,
            Request::Admin(_) => RequestKind::Admin,
            Request::WhoLeads => RequestKind::WhoLeads,
            Request::Applied { .. } => RequestKind::Applied,
            Request::Describe => RequestKind::Describe,
            Request::Quiesce(_) => RequestKind::Quiesce,
            Request::Wake => RequestKind::Wake,
            Request::Ping => RequestKind::Ping,
            Request::Versions => RequestKind::Versions,
            Request::Digest { .. } => RequestKind::Digest,
        }
    }
}

/// How much of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Calls made.
    pub messages: u64,
    /// About how many bytes they would take on a wire.
    pub bytes: u64,
}

/// What was sent, by kind: calls as their senders made them, whatever became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic(BTreeMap<RequestKind, Volume>);

impl Traffic {
    /// How much of this kind.
    pub fn of(&self, kind: RequestKind) -> Volume {
        self.0.get(&kind).copied().unwrap_or_default()
    }

    /// How many calls of all kinds.
    pub fn messages(&self) -> u64 {
        self.0.values().map(|volume| volume.messages).sum()
    }

    /// What came since `earlier` was taken.
    pub fn since(&self, earlier: &Traffic) -> Traffic {
        let difference = |(kind, now): (&RequestKind, &Volume)| {
            let then = earlier.of(*kind);
            (*kind, Volume { messages: now.messages - then.messages, bytes: now.bytes - then.bytes })
        };
        Traffic(self.0.iter().map(difference).collect())
    }

    pub(super) fn add(&mut self, other: &Traffic) {
        for (kind, volume) in &other.0 {
            let sum = self.0.entry(*kind).or_default();
            sum.messages += volume.messages;
            sum.bytes += volume.bytes;
        }
    }
}

/// One sender's counters.
#[derive(Debug, Default)]
pub(super) struct Counters([(AtomicU64, AtomicU64); RequestKind::ALL.len()]);

impl Counters {
    pub(super) fn count(&self, request: &Request) {
        let (messages, bytes) = &self.0[RequestKind::of(request) as usize];
        messages.fetch_add(1, Ordering::Relaxed);
        bytes.fetch_add(size(request), Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Traffic {
        let volume = |kind: RequestKind| {
            let (messages, bytes) = &self.0[kind as usize];
            Volume { messages: messages.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
        };
        Traffic(RequestKind::ALL.into_iter().map(|kind| (kind, volume(kind))).collect())
    }
}

/// About how many bytes a request takes on a wire.
fn size(request: &Request) -> u64 {
    const ENVELOPE: u64 = 64;
    ENVELOPE
        + match request {
            Request::Append(append) => append.entries.iter().map(crate::log::Entry::size).sum(),
            Request::Snapshot(chunk) => chunk.bytes.len() as u64,
            Request::Write(forwarded) => forwarded.writes.iter().map(Write::size).sum(),
            Request::Read(forwarded) => forwarded.query.len() as u64,
            _ => 0,
        }
}
