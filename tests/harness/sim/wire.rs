//! What nodes say to each other, seen where it leaves and where it arrives.
//!
//! Promises: a message is handled behind its receiver's gate, so that a paused node does nothing with it and one that has
//! crashed forgets it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate::NodeId;
use quorate::env::{BoxFuture, Gate};
use quorate::transport::{
    Answer, Envelope, Inbound, MemoryTransport, Reply, Request, RequestKind, Transport, TransportError,
};

use super::counts::Tally;
use super::trace::Trace;
use crate::run::MessageFate;

/// A request in a few words.
pub(super) struct Says<'a>(pub(super) &'a Request);

impl fmt::Display for Says<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = RequestKind::of(self.0);
        match self.0 {
            Request::Append(append) => {
                write!(f, "{kind:?} {} after {:?}", append.vote, append.previous.map(|id| id.to_string()))?;
                if let (Some(first), Some(last)) = (append.entries.first(), append.entries.last()) {
                    write!(f, " [{}..{}]", first.id, last.id)?;
                }
                write!(f, " committed {:?}", append.committed.map(|id| id.to_string()))
            }
            Request::Vote(ballot) | Request::PreVote(ballot) => write!(f, "{kind:?} {ballot:?}"),
            Request::Transfer { to, last, .. } => write!(f, "{kind:?} to {to} at {last:?}"),
            Request::Snapshot(chunk) => write!(f, "{kind:?} {} bytes", chunk.bytes.len()),
            Request::Write(forwarded) => write!(f, "{kind:?} {} writes", forwarded.writes.len()),
            Request::Read(forwarded) => write!(f, "{kind:?} {:?}", forwarded.consistency),
            _ => write!(f, "{kind:?}"),
        }
    }
}

/// A reply in a few words.
struct Answers<'a>(&'a Reply);

impl fmt::Display for Answers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reply::Append(appended) => write!(f, "{appended:?}"),
            Reply::Vote { vote, granted, last } => write!(f, "vote {vote} granted {granted} last {last:?}"),
            Reply::Refused(cause) => write!(f, "refused: {cause}"),
            Reply::Write(result) => write!(f, "write {}", if result.is_ok() { "done" } else { "failed" }),
            Reply::Read(result) => write!(f, "read {}", if result.is_ok() { "done" } else { "failed" }),
            Reply::ReadIndex(result) => write!(f, "read index {:?}", result.as_ref().ok()),
            Reply::Described(_) => f.write_str("described"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A node's sending end.
pub(super) struct TracedTransport {
    pub(super) node: NodeId,
    pub(super) inner: Arc<MemoryTransport>,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
}

#[async_trait::async_trait]
impl Transport for TracedTransport {
    async fn call(&self, to: NodeId, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        let (group, id) = (envelope.group, envelope.id);
        self.trace.note(Some(self.node), format_args!("-> {to} {group} #{id} {}", Says(&envelope.request)));
        self.tally.message(MessageFate::Sent, &envelope, to);
        let result = self.inner.call(to, envelope, timeout).await;
        match &result {
            Ok(answer) => {
                self.trace.note(Some(self.node), format_args!("<- {to} {group} #{id} {}", Answers(&answer.reply)));
            }
            Err(error) => self.trace.note(Some(self.node), format_args!("<- {to} {group} #{id} {error}")),
        }
        result
    }
}

/// A node's receiving end.
pub(super) struct Guarded {
    pub(super) node: NodeId,
    pub(super) inner: Arc<dyn Inbound>,
    pub(super) gate: Gate,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
}

#[async_trait::async_trait]
impl Inbound for Guarded {
    async fn deliver(&self, envelope: Envelope) -> Option<Answer> {
        let Envelope { from, group, id, request, .. } = &envelope;
        self.trace.note(Some(self.node), format_args!("   from {from} {group} #{id} {}", Says(request)));
        self.tally.message(MessageFate::Received, &envelope, self.node);
        let inner = Arc::clone(&self.inner);
        let handling: BoxFuture<_> = Box::pin(async move { inner.deliver(envelope).await });
        self.gate.through(handling).await.flatten()
    }
}
