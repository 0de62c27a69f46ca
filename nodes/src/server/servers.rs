//! Servers to be asked one after the other, until one gives an answer that is worth something; and how command lines name them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Args;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::client::ClientError;
use super::outcome::is_unknown;
use super::proto::quorate_client::QuorateClient;
use super::trust::ClientTls;

/// How long one server is waited for before another is asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);

/// The pause after every server has failed once.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// A cluster, as command lines name it. Flatten it into a program's or a command's own options.
#[derive(Args, Clone, Debug)]
pub struct ClusterFlags {
    /// Servers of the cluster (`host:port` of clients), separated by commas; the first that answers is asked.
    #[arg(
        long,
        short,
        env = "QUORATE_SERVERS",
        default_value = "127.0.0.1:7001",
        value_delimiter = ',',
        global = true
    )]
    pub servers: Vec<String>,
    /// What they are trusted by.
    #[command(flatten)]
    pub tls: ClientTls,
}

/// A server's client. Nothing is connected before it is used.
///
/// # Errors
/// When the address is none, or a certificate cannot be read.
///
/// # Panics
/// Outside of a tokio runtime.
pub(super) fn connect(server: &str, tls: &ClientTls) -> anyhow::Result<QuorateClient<Channel>> {
    Ok(QuorateClient::new(tls.endpoint(server)?.connect_timeout(CONNECT).connect_lazy()))
}

/// Servers of one cluster. Invariant: there is one.
pub(super) struct Servers {
    all: Vec<QuorateClient<Channel>>,
    /// The one that answered last.
    good: AtomicUsize,
}

impl Servers {
    /// As [`connect`], for each of several, of which there must be one.
    ///
    /// # Errors
    /// As [`connect`]'s.
    pub(super) fn new(servers: impl IntoIterator<Item = impl AsRef<str>>, tls: &ClientTls) -> anyhow::Result<Servers> {
        let all =
            servers.into_iter().map(|server| connect(server.as_ref(), tls)).collect::<anyhow::Result<Vec<_>>>()?;
        anyhow::ensure!(!all.is_empty(), "a client needs a server");
        Ok(Servers { all, good: AtomicUsize::new(0) })
    }

    /// The server of one attempt: the one that answered last, then the others.
    pub(super) fn nth(&self, attempt: usize) -> QuorateClient<Channel> {
        self.all[self.place(attempt)].clone()
    }

    /// Which one that is.
    pub(super) fn place(&self, attempt: usize) -> usize {
        self.good.load(Ordering::Relaxed).wrapping_add(attempt) % self.all.len()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The server of that attempt is the one to ask first from now on.
    pub(super) fn answered(&self, attempt: usize) {
        if attempt > 0 {
            self.good.fetch_add(attempt, Ordering::Relaxed);
        }
    }

    /// Asks one server after the other.
    ///
    /// # Errors
    /// [`ClientError`]: unknown if any of the attempts may have happened.
    pub(super) async fn ask<T, F>(
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
            let at = nth % self.all.len();
            let status = match call(self.all[at].clone(), left.min(PATIENCE)).await {
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
            if failures % self.all.len() == 0 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A timeout on the wire.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// A request whose server gives up before its caller does.
pub(super) fn with_deadline<T>(message: T, left: Duration) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(left + Duration::from_millis(200));
    request
}
