//! One connection to a peer: two streams, and the calls that travel on them.
//!
//! Promises: a call ends when its answer comes, its time is up, or the connection is lost; `Unreachable` means that the
//! message never left.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use super::config::GrpcConfig;
use super::hello::{HelloError, check_callee, hello, hello_in};
use super::outbox::{Frames, NotTaken, Outbox, Sent};
use super::proto::{Content, Frame, Hello, MESSAGES, SNAPSHOTS};
use crate::transport::pending::{Key, Pending};
use crate::transport::wire::{self, Message, WireError};
use crate::transport::{Answer, Envelope, TransportError};
use crate::types::NodeId;

/// What HTTP/2 may have on its way on one stream, and on the connection: a snapshot must not use up the room for messages.
pub(super) const STREAM_WINDOW: u32 = 4 << 20;
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("no connection: {0}")]
    Connect(String),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0}")]
    Hello(#[from] HelloError),
    /// The peer will not speak to this node.
    #[error("refused: {0}")]
    Refused(String),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("the peer sends {0}")]
    Wire(#[from] WireError),
}

impl LinkError {
    /// Whether somebody has to do something about it: trying again will not help.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, LinkError::Hello(_) | LinkError::Refused(_))
    }
}

impl From<Status> for LinkError {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::FailedPrecondition | Code::PermissionDenied | Code::Unimplemented => {
                LinkError::Refused(status.message().into())
            }
            _ => LinkError::Lost(format!("{}: {}", status.code(), status.message())),
        }
    }
}

/// Which of a connection's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Messages,
    Snapshots,
}

/// A connection, as its callers see it.
pub(super) struct Link {
    peer: NodeId,
    messages: Calls,
    snapshots: Calls,
    record_bytes_max: usize,
}

/// The calls of one stream.
struct Calls {
    pending: Arc<Pending>,
    outbox: Arc<Outbox<Key>>,
}

/// A connection's receiving end.
pub(super) struct Answers {
    messages: Streaming<Frame>,
    snapshots: Streaming<Frame>,
}

impl Link {
    /// Connects to `peer`, and has the two nodes introduce themselves.
    pub(super) async fn open(
        config: &GrpcConfig,
        peer: NodeId,
        address: &str,
    ) -> Result<(Arc<Link>, Answers), LinkError> {
        let patience = config.limits.connect_timeout;
        let opening = async {
            let channel = connect(config, peer, address).await?;
            let (messages, message_answers, theirs) = Calls::open(&channel, config, peer, MESSAGES).await?;
            let (snapshots, snapshot_answers, _) = Calls::open(&channel, config, peer, SNAPSHOTS).await?;
            let theirs = usize::try_from(theirs.record_bytes_max).unwrap_or(usize::MAX);
            let record_bytes_max = theirs.min(config.limits.message_bytes_max);
            let link = Link { peer, messages, snapshots, record_bytes_max };
            Ok((Arc::new(link), Answers { messages: message_answers, snapshots: snapshot_answers }))
        };
        tokio::time::timeout(patience, opening).await.unwrap_or(Err(LinkError::Timeout(patience)))
    }

    /// The largest record that may be sent.
    pub(super) fn record_bytes_max(&self) -> usize {
        self.record_bytes_max
    }

    /// Sends a message, encoded as `record`, and waits for its answer. It is queued while this is first polled.
    pub(super) async fn call(
        &self,
        lane: Lane,
        envelope: Envelope,
        record: Bytes,
        timeout: Duration,
    ) -> Result<Answer, TransportError> {
        let calls = match lane {
            Lane::Messages => &self.messages,
            Lane::Snapshots => &self.snapshots,
        };
        let waiting = calls.pending.expect(&envelope);
        drop(envelope);
        if let Err(NotTaken) = calls.outbox.push(waiting.key(), record) {
            return Err(TransportError::Unreachable(self.peer));
        }
        waiting.answer(self.peer, timeout).await
    }

    /// Gives answers to their calls until the connection is lost.
    pub(super) async fn run(&self, answers: Answers) -> LinkError {
        let messages = pin!(self.messages.take_answers(answers.messages));
        let snapshots = pin!(self.snapshots.take_answers(answers.snapshots));
        select(messages, snapshots).await.factor_first().0
    }

    /// Ends all calls.
    pub(super) fn end(&self) {
        for calls in [&self.messages, &self.snapshots] {
            for unsent in calls.outbox.end() {
                calls.pending.fail(unsent, TransportError::Unreachable(self.peer));
            }
            calls.pending.fail_all(&TransportError::NoAnswer(self.peer));
        }
    }

    /// What has left on both streams.
    pub(super) fn sent(&self) -> Sent {
        let (messages, snapshots) = (self.messages.outbox.sent(), self.snapshots.outbox.sent());
        messages + snapshots
    }
}

impl Calls {
    async fn open(
        channel: &Channel,
        config: &GrpcConfig,
        peer: NodeId,
        path: &'static str,
    ) -> Result<(Calls, Streaming<Frame>, Hello), LinkError> {
        let limits = &config.limits;
        let (pending, outbox) = (Arc::<Pending>::default(), Outbox::new(limits.queue_bytes_max));
        let wanted = {
            let pending = Arc::clone(&pending);
            move |key: &Key| pending.is_waiting(*key)
        };
        let frames = Frames::new(hello(config, peer), Arc::clone(&outbox), limits.batch_bytes_max, wanted);
        let client = tonic::client::Grpc::new(channel.clone());
        let mut client = client.max_decoding_message_size(limits.frame_bytes_max());
        client.ready().await.map_err(|error| LinkError::Connect(with_causes(&error)))?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Frame, Frame>::default();
        let mut answers = client.streaming(Request::new(frames), path, codec).await?.into_inner();
        let theirs = hello_in(answers.message().await?)?;
        check_callee(config, peer, &theirs)?;
        Ok((Calls { pending, outbox }, answers, theirs))
    }

    async fn take_answers(&self, mut frames: Streaming<Frame>) -> LinkError {
        loop {
            let frame = match frames.message().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return LinkError::Lost("the peer has ended it".into()),
                Err(status) => return status.into(),
            };
            let Some(Content::Batch(batch)) = frame.content else { continue };
            for record in batch.records {
                match wire::decode(&record, usize::MAX) {
                    Ok(Message::Answer(answer)) => self.pending.answer(answer),
                    Ok(Message::Envelope(_)) => return LinkError::Lost("the peer asks where it should answer".into()),
                    Err(error) => return error.into(),
                }
            }
        }
    }
}

async fn connect(config: &GrpcConfig, peer: NodeId, address: &str) -> Result<Channel, LinkError> {
    let failed = |error: tonic::transport::Error| LinkError::Connect(with_causes(&error));
    let limits = &config.limits;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(failed)?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.keepalive_timeout)
        .keep_alive_while_idle(true);
    if let Some(tls) = &config.tls {
        endpoint = endpoint.tls_config(tls.client(peer)).map_err(failed)?;
    }
    endpoint.connect().await.map_err(failed)
}

/// tonic's errors keep what happened for their sources.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
