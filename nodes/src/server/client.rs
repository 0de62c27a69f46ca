//! A client of a cluster of servers: any of them will do, and one that dies is passed over.
//!
//! Promises: a change takes effect once, however often it is sent and to however many servers: it is numbered by a session;
//! a call ends by its deadline; an error says whether a change can have happened.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::outcome::is_unknown;
use super::proto::change_request::Change;
use super::proto::quorate_client::QuorateClient;
use super::proto::{self, ChangeReply, ChangeRequest, GetReply, GetRequest, Session};
use super::trust::ClientTls;

/// How long one server is waited for before another is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// The pause after every server has failed once.
const PAUSE: Duration = Duration::from_millis(20);

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// It did not happen and never will.
    #[error("{}", .0.message())]
    Rejected(Status),
    /// It may have happened.
    #[error("{} (it may have happened)", .0.message())]
    Unknown(Status),
}

/// A client. It makes one change at a time: a session has one order.
pub struct Client {
    servers: Vec<QuorateClient<Channel>>,
    /// The one that answered last.
    good: AtomicUsize,
    session: String,
    seq: AtomicU64,
    changing: Mutex<()>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of these servers (`host:port`), in the clear. Nothing is connected before it is used.
    ///
    /// # Errors
    /// When an address is none, or there is none.
    pub fn new(servers: impl IntoIterator<Item = impl AsRef<str>>) -> anyhow::Result<Client> {
        Client::with_tls(servers, &ClientTls::default())
    }

    /// A client of these servers (`host:port`). Nothing is connected before it is used.
    ///
    /// # Errors
    /// When an address is none, or there is none, or a certificate cannot be read.
    pub fn with_tls(servers: impl IntoIterator<Item = impl AsRef<str>>, tls: &ClientTls) -> anyhow::Result<Client> {
        let connect = |server: &str| -> anyhow::Result<_> {
            let endpoint = tls.endpoint(server)?.connect_timeout(CONNECT);
            Ok(QuorateClient::new(endpoint.connect_lazy()))
        };
        let servers: Vec<_> = servers.into_iter().map(|server| connect(server.as_ref())).collect::<Result<_, _>>()?;
        anyhow::ensure!(!servers.is_empty(), "a client needs a server");
        let session = format!("client-{:016x}", RealEnv.random());
        Ok(Client { servers, good: AtomicUsize::new(0), session, seq: AtomicU64::new(0), changing: Mutex::new(()) })
    }

    /// Changes a key, once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn change(&self, key: &str, change: Change, timeout: Duration) -> Result<ChangeReply, ClientError> {
        let _one_at_a_time = self.changing.lock().await;
        let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
        // What came before has been answered, or was given up.
        let session = Session { client: self.session.clone(), seq, acked: Some(seq - 1) };
        let request =
            ChangeRequest { key: key.to_owned(), change: Some(change), session: Some(session), timeout_ms: 0 };
        self.ask(timeout, |mut server, left| {
            let request = with_deadline(ChangeRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.change(request).await }
        })
        .await
    }

    /// A key's value.
    ///
    /// # Errors
    /// [`ClientError::Rejected`]: a read changes nothing.
    pub async fn get(
        &self,
        key: &str,
        max_staleness: Option<Duration>,
        timeout: Duration,
    ) -> Result<GetReply, ClientError> {
        let request = GetRequest { key: key.to_owned(), max_staleness_ms: max_staleness.map(millis), timeout_ms: 0 };
        let reply = self.ask(timeout, |mut server, left| {
            let request = with_deadline(GetRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.get(request).await }
        });
        reply.await.map_err(|error| match error {
            ClientError::Rejected(status) | ClientError::Unknown(status) => ClientError::Rejected(status),
        })
    }

    /// Who serves what.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn configuration(&self, timeout: Duration) -> Result<proto::ConfigurationReply, ClientError> {
        self.ask(timeout, |mut server, left| async move {
            server.configuration(with_deadline(proto::ConfigurationRequest {}, left)).await
        })
        .await
    }

    /// Asks one server after the other until one gives an answer that is worth something.
    async fn ask<T, F>(
        &self,
        timeout: Duration,
        call: impl Fn(QuorateClient<Channel>, Duration) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let deadline = Instant::now() + timeout;
        let mut unknown: Option<Status> = None;
        let mut nth = self.good.load(Ordering::Relaxed);
        let mut failures = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let at = nth % self.servers.len();
            let Some(server) = self.servers.get(at) else {
                return Err(ClientError::Rejected(Status::internal("a client without servers")));
            };
            let status = match call(server.clone(), left.min(PATIENCE)).await {
                Ok(reply) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(reply.into_inner());
                }
                Err(status) => status,
            };
            let rejected = !is_unknown(&status);
            if rejected && !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) {
                return Err(unknown.map_or(ClientError::Rejected(status), ClientError::Unknown));
            }
            if !rejected {
                unknown = Some(status.clone());
            }
            if deadline <= Instant::now() {
                return Err(unknown.map_or(ClientError::Rejected(status), ClientError::Unknown));
            }
            nth += 1;
            failures += 1;
            if failures % self.servers.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A request whose server gives up before its caller does.
fn with_deadline<T>(message: T, left: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(left + Duration::from_millis(200));
    request
}
