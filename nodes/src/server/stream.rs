//! A client with many calls at a time: they share one stream to one server, and each message of it.
//!
//! Promises: an error says whether a change can have happened; a stream that broke is opened again for the calls after it.
//! Leaves out: trying elsewhere and numbering changes, which [`Client`](super::Client) does: whoever sends a change again gives
//! it a session.

use std::collections::HashMap;
use std::time::Duration;

use futures::stream;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::client::ClientError;
use super::outcome::timeout;
use super::proto::quorate_client::QuorateClient;
use super::proto::{Answer, Answers, Call, Calls, ChangeReply, ChangeRequest, GetReply, GetRequest, answer, call};
use super::trust::ClientTls;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a connection may be silent while calls wait, twice over.
const SILENCE: Duration = Duration::from_secs(5);

/// How much longer than the server a caller waits.
const MARGIN: Duration = Duration::from_millis(500);

/// Calls in one message, at most.
const TOGETHER_MAX: usize = 256;

type Asked = (call::Call, oneshot::Sender<Result<answer::Answer, ClientError>>);
type Waiting = HashMap<u64, oneshot::Sender<Result<answer::Answer, ClientError>>>;

/// A stream of calls to one server. Clones share it.
#[derive(Clone, Debug)]
pub struct CallStream {
    asked: mpsc::UnboundedSender<Asked>,
}

impl CallStream {
    /// A stream to a server (`host:port`), opened with the first call. It ends with its last clone.
    ///
    /// # Errors
    /// When the address is none, or a certificate cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(server: &str, tls: &ClientTls) -> anyhow::Result<CallStream> {
        let endpoint = tls
            .endpoint(server)?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(SILENCE)
            .keep_alive_timeout(SILENCE);
        let (asked, calls) = mpsc::unbounded_channel();
        tokio::spawn(run(QuorateClient::new(endpoint.connect_lazy()), calls));
        Ok(CallStream { asked })
    }

    /// A key's value.
    ///
    /// # Errors
    /// [`ClientError`]; a read changes nothing, so either kind may be tried again.
    pub async fn get(&self, get: GetRequest) -> Result<GetReply, ClientError> {
        let timeout_ms = get.timeout_ms;
        match self.call(call::Call::Get(get), timeout_ms).await? {
            answer::Answer::Get(reply) => Ok(reply),
            other => Err(strange(&other)),
        }
    }

    /// Changes a key.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change(&self, change: ChangeRequest) -> Result<ChangeReply, ClientError> {
        let timeout_ms = change.timeout_ms;
        match self.call(call::Call::Change(change), timeout_ms).await? {
            answer::Answer::Change(reply) => Ok(reply),
            other => Err(strange(&other)),
        }
    }

    async fn call(&self, call: call::Call, timeout_ms: u64) -> Result<answer::Answer, ClientError> {
        let (sender, receiver) = oneshot::channel();
        let ended = || ClientError::Unknown(Status::unavailable("the stream's task has ended"));
        self.asked.send((call, sender)).map_err(|_| ended())?;
        // The server gives up first, unless it cannot.
        match tokio::time::timeout(timeout(timeout_ms) + MARGIN, receiver).await {
            Ok(answer) => answer.map_err(|_| ended())?,
            Err(_) => Err(ClientError::Unknown(Status::deadline_exceeded("the server does not answer"))),
        }
    }
}

fn strange(answer: &answer::Answer) -> ClientError {
    match answer {
        answer::Answer::Failure(failure) => {
            let status = Status::new(Code::from_i32(failure.code), failure.message.clone());
            if failure.unknown { ClientError::Unknown(status) } else { ClientError::Rejected(status) }
        }
        _ => ClientError::Unknown(Status::internal("an answer to another question")),
    }
}

/// Opens a stream whenever there is something to ask and none is open.
async fn run(server: QuorateClient<Channel>, mut asked: mpsc::UnboundedReceiver<Asked>) {
    let mut next = 0;
    while let Some(first) = asked.recv().await {
        let mut waiting = Waiting::new();
        if let Err(status) = converse(server.clone(), first, &mut asked, &mut waiting, &mut next).await {
            for sender in waiting.into_values() {
                let _ = sender.send(Err(ClientError::Unknown(status.clone())));
            }
        }
    }
}

/// One stream, from its first call until it breaks.
async fn converse(
    mut server: QuorateClient<Channel>,
    first: Asked,
    asked: &mut mpsc::UnboundedReceiver<Asked>,
    waiting: &mut Waiting,
    next: &mut u64,
) -> Result<(), Status> {
    // One message is being sent, and the next one gathers calls meanwhile.
    let (messages, outgoing) = mpsc::channel::<Calls>(1);
    let outgoing = stream::unfold(outgoing, |mut outgoing| async move { Some((outgoing.recv().await?, outgoing)) });
    let mut number = |(call, sender): Asked, waiting: &mut Waiting| {
        *next += 1;
        waiting.insert(*next, sender);
        Call { id: *next, call: Some(call) }
    };
    let mut gathered = vec![number(first, waiting)];
    let mut answers: Option<Streaming<Answers>> = None;
    let mut opening = Box::pin(async move { server.multiplex(outgoing).await });
    let mut room = Vec::new();
    loop {
        tokio::select! {
            opened = &mut opening, if answers.is_none() => answers = Some(opened?.into_inner()),
            message = next_of(&mut answers), if answers.is_some() => match message? {
                Some(Answers { answers }) => for Answer { id, answer } in answers {
                    if let (Some(sender), Some(answer)) = (waiting.remove(&id), answer) {
                        // Who asked may have given up.
                        let _ = sender.send(Ok(answer));
                    }
                },
                None => return Err(Status::unavailable("the server ended the stream")),
            },
            count = asked.recv_many(&mut room, TOGETHER_MAX), if gathered.len() < TOGETHER_MAX => {
                if count == 0 {
                    return Ok(());
                }
                gathered.extend(room.drain(..).map(|asked| number(asked, waiting)));
            }
            place = messages.reserve(), if !gathered.is_empty() => {
                let place = place.map_err(|_| Status::unavailable("the stream broke"))?;
                place.send(Calls { calls: std::mem::take(&mut gathered) });
            }
        }
    }
}

async fn next_of(answers: &mut Option<Streaming<Answers>>) -> Result<Option<Answers>, Status> {
    match answers {
        Some(answers) => answers.message().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_call_to_a_server_that_hangs_ends_and_may_have_happened() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let holding = tokio::spawn(async move {
            // It takes connections, and says nothing on them.
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        });
        let stream = CallStream::new(&address, &ClientTls::default()).expect("a stream");
        let get = GetRequest { key: "k".into(), max_staleness_ms: None, timeout_ms: 1 };
        let change = ChangeRequest { key: "k".into(), change: None, session: None, timeout_ms: 1 };
        let (got, changed) = tokio::join!(stream.get(get), stream.change(change));
        assert!(matches!(got, Err(ClientError::Unknown(_))), "{got:?}");
        assert!(matches!(changed, Err(ClientError::Unknown(_))), "{changed:?}");
        holding.abort();
    }

    #[tokio::test]
    async fn a_call_to_nobody_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let stream = CallStream::new(&address, &ClientTls::default()).expect("a stream");
        let get = GetRequest { key: "k".into(), max_staleness_ms: None, timeout_ms: 60_000 };
        assert!(stream.get(get).await.is_err(), "nobody listens");
    }
}
