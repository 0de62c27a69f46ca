//! A client of a group of one's own machine, as typed as the machine is.
//!
//! Promises: a command takes effect once, however often it is sent and to however many servers; a call ends by its deadline; an
//! error says whether a command can have happened.

use std::marker::PhantomData;
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use quorate::machine::{decode, encode};
use quorate::{Consistency, StateMachine};
use tokio::sync::Mutex;
use tonic::{Code, Status};

use super::client::ClientError;
use super::proto::{OpenSessionRequest, ReadReply, ReadRequest, Session, WriteRequest};
use super::reach::read_request;
use super::servers::{Servers, millis, with_deadline};
use super::trust::ClientTls;

/// A client of a group whose machine is `M`. It makes one change at a time: a session has one order.
pub struct GroupClient<M> {
    servers: Servers,
    group: String,
    session: Mutex<Numbering>,
    _machine: PhantomData<fn() -> M>,
}

struct Numbering {
    client: String,
    seq: u64,
    open: bool,
}

impl<M> std::fmt::Debug for GroupClient<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupClient").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Numbering {
    fn new() -> Self {
        Numbering { client: format!("group-client-{:016x}", RealEnv.random()), seq: 0, open: false }
    }
}

impl<M: StateMachine> GroupClient<M> {
    /// A client of the group of this name in the cluster of these servers (`host:port`), any of which will do. Nothing is
    /// connected before it is used.
    ///
    /// # Errors
    /// When an address is none, or there is none, or a certificate cannot be read.
    pub fn new(
        group: &str,
        servers: impl IntoIterator<Item = impl AsRef<str>>,
        tls: &ClientTls,
    ) -> anyhow::Result<GroupClient<M>> {
        let (servers, session) = (Servers::new(servers, tls)?, Mutex::new(Numbering::new()));
        Ok(GroupClient { servers, group: group.to_owned(), session, _machine: PhantomData })
    }

    /// Has a command carried out, once.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn write(&self, command: &M::Command, timeout: Duration) -> Result<M::Reply, ClientError> {
        let command: Vec<u8> = encode(command).into();
        let mut session = self.session.lock().await;
        loop {
            if !session.open {
                self.open(&session.client, timeout).await?;
                session.open = true;
            }
            session.seq += 1;
            let stamp = Session { client: session.client.clone(), seq: session.seq, acked: Some(session.seq - 1) };
            let request = WriteRequest {
                group: self.group.clone(),
                command: command.clone(),
                session: Some(stamp),
                timeout_ms: 0,
            };
            let written = self.servers.ask(timeout, |mut server, left| {
                let request = with_deadline(WriteRequest { timeout_ms: millis(left), ..request.clone() }, left);
                async move { server.write(request).await }
            });
            match written.await {
                Ok(written) => {
                    // It was carried out, by a machine that says something else.
                    let strange = |error: quorate::machine::Undecodable| {
                        ClientError::Unknown(Status::internal(error.to_string()))
                    };
                    return decode(&written.reply).map_err(strange);
                }
                // It was unused for so long that it was forgotten: it was not carried out.
                Err(ClientError::Rejected(status)) if status.code() == Code::Aborted && session.seq > 1 => {
                    *session = Numbering::new();
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn open(&self, client: &str, timeout: Duration) -> Result<(), ClientError> {
        let request = OpenSessionRequest { group: self.group.clone(), client: client.to_owned(), timeout_ms: 0 };
        let opened = self.servers.ask(timeout, |mut server, left| {
            let request = with_deadline(OpenSessionRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.open_session(request).await }
        });
        // The command itself was not sent.
        opened.await.map(drop).map_err(ClientError::of_question)
    }

    /// Asks the group, as freshly as `consistency` says, and gives what the answer proves with it.
    ///
    /// # Errors
    /// [`ClientError::Rejected`]: a question changes nothing.
    pub async fn read(
        &self,
        consistency: Consistency,
        query: &M::Query,
        timeout: Duration,
    ) -> Result<(M::Answer, ReadReply), ClientError> {
        let request = read_request(&self.group, consistency, encode(query).into());
        let reply = self.servers.ask(timeout, |mut server, left| {
            let request = with_deadline(ReadRequest { timeout_ms: millis(left), ..request.clone() }, left);
            async move { server.read(request).await }
        });
        let reply = reply.await.map_err(ClientError::of_question)?;
        let strange = |error: quorate::machine::Undecodable| ClientError::Rejected(Status::internal(error.to_string()));
        Ok((decode(&reply.answer).map_err(strange)?, reply))
    }
}
