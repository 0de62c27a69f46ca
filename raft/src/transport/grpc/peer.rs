//! A peer: the connection to it, made again whenever it is lost.
//!
//! Promises: while there is no connection, calls fail at once with `Unreachable`; a peer that comes back is found within
//! the longest pause, and at once if it calls first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::config::GrpcConfig;
use super::link::{Lane, Link, LinkError};
use super::outbox::Sent;
use super::pace::Pace;
use crate::transport::wire::encode_envelope;
use crate::transport::{Answer, Envelope, Request, TransportError};
use crate::types::NodeId;

/// How things stand with a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// Where it is looked for.
    pub address: String,
    /// Whether there is a connection to it now.
    pub connected: bool,
    /// How many connections to it there have been.
    pub connections: u64,
    /// Why there is none now, or why the last one ended.
    pub last_error: Option<String>,
    /// Messages sent to it.
    pub messages_sent: u64,
    /// Frames that carried them: what waits together travels together.
    pub frames_sent: u64,
    /// About how many bytes they took.
    pub bytes_sent: u64,
}

/// A peer of this node.
pub(super) struct Peer {
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    config: Arc<GrpcConfig>,
    id: NodeId,
    address: String,
    pace: Option<Pace>,
    now: Mutex<Now>,
    /// It may be there again.
    sign_of_life: Notify,
}

#[derive(Default)]
struct Now {
    link: Option<Arc<Link>>,
    connections: u64,
    last_error: Option<String>,
    /// What was sent over the connections that have ended.
    sent: Sent,
}

impl Peer {
    /// Starts to connect to `id` at `address`, for as long as the peer lives.
    pub(super) fn new(config: Arc<GrpcConfig>, id: NodeId, address: String) -> Self {
        let pace = config.limits.snapshot_bytes_per_second.map(Pace::new);
        let state = State { config, id, address, pace, now: Mutex::default(), sign_of_life: Notify::new() };
        let state = Arc::new(state);
        let task = tokio::spawn(Arc::clone(&state).stay_connected());
        Peer { state, task }
    }

    pub(super) fn address(&self) -> &str {
        &self.state.address
    }

    /// Sends a message and waits for its answer; fails at once while there is no connection.
    pub(super) async fn call(&self, envelope: Envelope, timeout: Duration) -> Result<Answer, TransportError> {
        let state = &self.state;
        let Some(link) = state.now().link.clone() else { return Err(TransportError::Unreachable(state.id)) };
        let record = encode_envelope(&envelope);
        let (bytes, limit) = (record.len(), link.record_bytes_max());
        if bytes > limit {
            return Err(TransportError::TooLarge { bytes, limit });
        }
        let lane = match envelope.request {
            Request::Snapshot(_) => Lane::Snapshots,
            _ => Lane::Messages,
        };
        if let (Lane::Snapshots, Some(pace)) = (lane, &state.pace) {
            pace.pass(bytes).await;
        }
        link.call(lane, envelope, record, timeout).await
    }

    /// Ends the connection and all calls on it, for good.
    pub(super) fn stop(&self) {
        self.task.abort();
    }

    /// The peer has been heard of: it is worth trying at once.
    pub(super) fn heard(&self) {
        self.state.sign_of_life.notify_one();
    }

    pub(super) fn status(&self) -> PeerStatus {
        let now = self.state.now();
        let sent = now.sent + now.link.as_ref().map_or(Sent::default(), |link| link.sent());
        PeerStatus {
            address: self.state.address.clone(),
            connected: now.link.is_some(),
            connections: now.connections,
            last_error: now.last_error.clone(),
            messages_sent: sent.records,
            frames_sent: sent.frames,
            bytes_sent: sent.bytes,
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stay_connected(self: Arc<Self>) {
        let mut failures = 0;
        loop {
            let error = match Link::open(&self.config, self.id, &self.address).await {
                Ok((link, answers)) => {
                    failures = 0;
                    let up = Up::new(&self, link);
                    up.link.run(answers).await
                }
                Err(error) => error,
            };
            self.note(&error);
            let pause = self.pause(failures);
            failures += 1;
            // A refusal will be one again: only the clock is waited for.
            if error.is_refusal() {
                tokio::time::sleep(pause).await;
            } else if tokio::time::timeout(pause, self.sign_of_life.notified()).await.is_ok() {
                failures = 0;
            }
        }
    }

    /// Tells of an error where it is news.
    fn note(&self, error: &LinkError) {
        let text = error.to_string();
        let mut now = self.now();
        if now.last_error.as_ref() != Some(&text) {
            if error.is_refusal() {
                tracing::error!(peer = %self.id, address = self.address, error = text, "a peer and this node do not fit");
            } else {
                tracing::info!(peer = %self.id, address = self.address, error = text, "no connection to a peer");
            }
            now.last_error = Some(text);
        }
    }

    /// Grows from the first to the second of the bounds; a half of it is left to chance, so that nodes that lost a peer
    /// together do not come back to it together.
    fn pause(&self, failures: u32) -> Duration {
        let (first, longest) = self.config.limits.backoff;
        let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

/// A connection in use. Its calls end with it, however it ends.
struct Up<'a> {
    state: &'a State,
    link: Arc<Link>,
}

impl<'a> Up<'a> {
    fn new(state: &'a State, link: Arc<Link>) -> Self {
        let mut now = state.now();
        now.connections += 1;
        now.last_error = None;
        now.link = Some(Arc::clone(&link));
        tracing::info!(peer = %state.id, address = state.address, "connected to a peer");
        Up { state, link }
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        let mut now = self.state.now();
        now.link = None;
        now.sent = now.sent + self.link.sent();
        drop(now);
        self.link.end();
    }
}
