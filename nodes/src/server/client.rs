//! A client of a cluster of servers: any of them will do, and one that dies is passed over.
//!
//! Promises: a change takes effect once, however often it is sent and to however many servers: it is numbered by a session;
//! a call ends by its deadline; an error says whether a change can have happened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use tokio::sync::Mutex;
use tonic::Status;

use super::proto::change_request::Change;
use super::proto::{self, ChangeReply, ChangeRequest, GetReply, GetRequest, Session};
use super::servers::{Servers, millis, with_deadline};
use super::trust::ClientTls;

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

impl ClientError {
    /// The same of a question, which changes nothing.
    pub(super) fn of_question(self) -> ClientError {
        match self {
            ClientError::Rejected(status) | ClientError::Unknown(status) => ClientError::Rejected(status),
        }
    }
}

/// A client. It makes one change at a time: a session has one order.
pub struct Client {
    servers: Servers,
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
        let servers = Servers::new(servers, tls)?;
        let session = format!("client-{:016x}", RealEnv.random());
        Ok(Client { servers, session, seq: AtomicU64::new(0), changing: Mutex::new(()) })
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
        let reply = self.servers.ask(timeout, |mut server, left| {
            let request = with_deadline(ChangeRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.change(request).await }
        });
        reply.await
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
        let reply = self.servers.ask(timeout, |mut server, left| {
            let request = with_deadline(GetRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.get(request).await }
        });
        reply.await.map_err(ClientError::of_question)
    }

    /// Who serves what.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn configuration(&self, timeout: Duration) -> Result<proto::ConfigurationReply, ClientError> {
        let reply = self.servers.ask(timeout, |mut server, left| async move {
            server.configuration(with_deadline(proto::ConfigurationRequest {}, left)).await
        });
        reply.await
    }
}
