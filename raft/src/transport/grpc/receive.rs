//! What a node does with the streams that its peers open.
//!
//! Promises: a stream's messages are handed on in their order, each without waiting for the answer to the one before; no
//! message is handed on before the hello of its stream was found good, nor one that names another sender than the hello.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::future::{Either, select};
use tokio::sync::watch;
use tonic::{Request, Status, Streaming};

use super::hello::{check_caller, hello, hello_in};
use super::outbox::{Frames, NotTaken, Outbox};
use super::proto::{Content, Frame, Hello};
use super::tls::Tls;
use super::transport::GrpcTransport;
use crate::env::BoxFuture;
use crate::error::{ReadError, Rejected, Unknown, WriteError};
use crate::transport::wire::{self, Message};
use crate::transport::{Answer, Envelope, Inbound, Reply};
use crate::types::NodeId;

/// So many different refusals are logged; a stranger who tries again and again must not fill the log.
const LOGGED_MAX: usize = 64;

/// The receiving end of a node.
pub(super) struct Receiver {
    transport: Arc<GrpcTransport>,
    inbound: Arc<dyn Inbound>,
    /// Turns true when the node stops.
    stopping: watch::Receiver<bool>,
    logged: Mutex<BTreeSet<String>>,
    pub(super) streams: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// The answers on one stream.
pub(super) type AnswerFrames = Frames<(), fn(&()) -> bool>;

impl Receiver {
    pub(super) fn new(
        transport: Arc<GrpcTransport>,
        inbound: Arc<dyn Inbound>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Receiver {
            transport,
            inbound,
            stopping,
            logged: Mutex::default(),
            streams: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Takes a stream if its hello is good, and starts to hand its messages on.
    pub(super) async fn accept(self: Arc<Self>, request: Request<Streaming<Frame>>) -> Result<AnswerFrames, Status> {
        let certificates = request.peer_certs();
        let mut frames = request.into_inner();
        let config = Arc::clone(self.transport.config());
        let first = tokio::time::timeout(config.limits.connect_timeout, frames.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello in time"))??;
        let met = hello_in(first).and_then(|theirs| Ok((check_caller(&config, &theirs)?, theirs)));
        let (peer, theirs) = met.map_err(|error| self.refuse(error.to_string(), Status::failed_precondition))?;
        if config.tls.is_some() {
            let own = certificates.as_ref().and_then(|chain| chain.first());
            if !own.is_some_and(|certificate| Tls::names(certificate, peer)) {
                let text = format!("the certificate shown is not {peer}'s");
                return Err(self.refuse(text, Status::permission_denied));
            }
        }
        if self.transport.banished().borrow().contains(&peer) {
            return Err(self.refuse(format!("{peer} was removed from the cluster"), Status::failed_precondition));
        }
        self.transport.heard(peer);
        let outbox = Outbox::new(config.limits.queue_bytes_max);
        let always: fn(&()) -> bool = |()| true;
        let answers = Frames::new(hello(&config, peer), Arc::clone(&outbox), config.limits.batch_bytes_max, always);
        let stream = PeerStream { receiver: self, peer, outbox, record_bytes_max: taken_by(&theirs) };
        tokio::spawn(stream.run(frames));
        Ok(answers)
    }

    fn refuse(&self, text: String, status: impl Fn(String) -> Status) -> Status {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED_MAX && logged.insert(text.clone()) {
            tracing::error!(error = text, "a node that wanted to connect was refused");
        }
        status(text)
    }
}

fn taken_by(hello: &Hello) -> usize {
    usize::try_from(hello.record_bytes_max).unwrap_or(usize::MAX)
}

/// One stream of a peer.
struct PeerStream {
    receiver: Arc<Receiver>,
    peer: NodeId,
    outbox: Arc<Outbox<()>>,
    /// The largest answer that the peer takes.
    record_bytes_max: usize,
}

impl PeerStream {
    /// Hands messages on until the peer ends the stream, or breaks its rules, or this node stops.
    async fn run(self, mut frames: Streaming<Frame>) {
        self.receiver.streams.fetch_add(1, Ordering::Relaxed);
        let mut stopping = self.receiver.stopping.clone();
        let (mut banished, peer) = (self.receiver.transport.banished(), self.peer);
        let stopped = async move {
            // An error of either: whoever would say it is gone, and so is the node.
            let stopping = pin!(stopping.wait_for(|stopping| *stopping));
            let banished = pin!(banished.wait_for(|banished| banished.contains(&peer)));
            select(stopping, banished).await;
        };
        let reading = async {
            if let Err(text) = self.read(&mut frames).await {
                tracing::warn!(peer = %self.peer, error = text, "a peer's stream is ended");
            }
        };
        match select(pin!(reading), pin!(stopped)).await {
            Either::Left(_) | Either::Right(_) => {}
        }
        self.outbox.end();
        self.receiver.streams.fetch_sub(1, Ordering::Relaxed);
    }

    async fn read(&self, frames: &mut Streaming<Frame>) -> Result<(), String> {
        // A status is the connection's end, whatever it was: the peer will be back.
        while let Ok(Some(frame)) = frames.message().await {
            let Some(Content::Batch(batch)) = frame.content else { continue };
            for record in batch.records {
                self.take(&record).await?;
            }
        }
        Ok(())
    }

    async fn take(&self, record: &Bytes) -> Result<(), String> {
        let config = self.receiver.transport.config();
        let envelope = match wire::decode(record, config.limits.message_bytes_max) {
            Ok(Message::Envelope(envelope)) => envelope,
            Ok(Message::Answer(_)) => return Err("an answer where messages are expected".into()),
            Err(error) => return Err(error.to_string()),
        };
        if envelope.from != self.peer || envelope.cluster != config.cluster {
            return Err(format!("a message of {} in {}", envelope.from, envelope.cluster));
        }
        self.hand_on(envelope).await;
        Ok(())
    }

    /// Hands a message on; what is not finished at once goes on as a task, so that the next message need not wait.
    async fn hand_on(&self, envelope: Envelope) {
        let (inbound, outbox, limit) =
            (Arc::clone(&self.receiver.inbound), Arc::clone(&self.outbox), self.record_bytes_max);
        let mut handling: BoxFuture<()> = Box::pin(async move {
            if let Some(answer) = inbound.deliver(envelope).await
                && let Err(NotTaken) = outbox.push((), record_of(answer, limit))
            {
                // A peer that does not read its answers: it loses the stream.
                outbox.end();
            }
        });
        if futures::poll!(&mut handling).is_pending() {
            tokio::spawn(handling);
        }
    }
}

/// An answer, or, if the peer would not take it, the news that there is one.
fn record_of(answer: Answer, limit: usize) -> Bytes {
    let record = wire::encode_answer(&answer);
    if record.len() <= limit {
        return record;
    }
    let text = format!("an answer of {} bytes; at most {limit} are carried", record.len());
    let reply = match answer.reply {
        // They may have been carried out.
        Reply::Write(_) => Reply::Write(Err(WriteError::Unknown(Unknown::AnswerLost(text)))),
        Reply::Read(_) => Reply::Read(Err(ReadError::Rejected(Rejected::Invalid(text)))),
        _ => Reply::Refused(Rejected::Invalid(text)),
    };
    wire::encode_answer(&Answer { reply, ..answer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reads::{Proof, ReadReply};
    use crate::transport::WriteOutcome;
    use crate::types::{Incarnation, LogId};

    #[test]
    fn an_answer_that_is_too_large_becomes_the_news_of_it() {
        let large = Bytes::from(vec![0; 5000]);
        let sent =
            |reply| match wire::decode(&record_of(Answer { incarnation: Incarnation(1), id: 2, reply }, 1000), 1000) {
                Ok(Message::Answer(answer)) => {
                    assert_eq!((answer.incarnation, answer.id), (Incarnation(1), 2));
                    answer.reply
                }
                other => panic!("{other:?}"),
            };
        let outcome = WriteOutcome { at: LogId::default(), reply: large.clone(), replayed: false };
        let write = sent(Reply::Write(Ok(vec![Ok(outcome)])));
        assert!(matches!(write, Reply::Write(Err(WriteError::Unknown(_)))), "it may have happened: {write:?}");
        let proof =
            Proof { served_by: NodeId(1), applied: None, linearizable: true, staleness: None, redirected: false };
        let read = sent(Reply::Read(Ok(ReadReply { answer: large, proof })));
        assert!(matches!(read, Reply::Read(Err(ReadError::Rejected(Rejected::Invalid(_))))), "{read:?}");
    }
}
