//! The attempts at one operation: until when, through which replica next, and what they have come to so far.
//!
//! Promises: once one attempt's outcome is open, no later refusal makes the operation's outcome definite.

use std::sync::Arc;
use std::time::Duration;

use quorate::Rejected;
use quorate::env::{Env, Moment};

use super::error::KvError;

/// One attempt waits at most so long for one replica, so that a silent one does not cost the whole deadline.
const ATTEMPT: Duration = Duration::from_millis(700);

/// The pause between attempts grows from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

pub(super) struct Attempts {
    env: Arc<dyn Env>,
    pub(super) deadline: Moment,
    timeout: Duration,
    /// Which replica to ask: 0 is the likeliest leader.
    pub(super) nth: usize,
    pause: Duration,
    refusal: Option<KvError>,
    unknown: Option<String>,
}

impl Attempts {
    pub(super) fn new(env: &Arc<dyn Env>, timeout: Duration) -> Self {
        let deadline = env.now() + timeout;
        Attempts { env: Arc::clone(env), deadline, timeout, nth: 0, pause: PAUSE.0, refusal: None, unknown: None }
    }

    pub(super) fn left(&self) -> Duration {
        self.deadline.since(self.env.now())
    }

    /// How long to wait for one replica.
    pub(super) fn patience(&self) -> Duration {
        self.left().min(ATTEMPT)
    }

    /// What to answer when the time is up.
    pub(super) fn over(&mut self) -> KvError {
        match self.unknown.take() {
            Some(text) => KvError::Unknown(text),
            // Without a refusal nothing was even tried.
            None => self.refusal.take().unwrap_or(KvError::Unavailable(Rejected::Deadline(self.timeout))),
        }
    }

    /// A definite error of this attempt is one of the operation only if no other attempt's outcome is open.
    pub(super) fn fail(&mut self, error: KvError) -> KvError {
        match self.unknown.take() {
            Some(text) if error.is_definite() => KvError::Unknown(text),
            _ => error,
        }
    }

    /// Whether an attempt's outcome is open.
    pub(super) fn is_open(&self) -> bool {
        self.unknown.is_some()
    }

    /// An attempt's outcome is open; what follows must be the same operation of the same session.
    pub(super) fn lost(&mut self, text: String) {
        self.unknown = Some(text);
    }

    /// Takes note of why an attempt was refused; that nobody answered says less than any other reason.
    pub(super) fn refused(&mut self, error: KvError) {
        if self.refusal.is_none() || !matches!(error, KvError::NoAnswer(_)) {
            self.refusal = Some(error);
        }
    }

    /// The replica asked did not accept, or did not answer: the next attempt goes to another one.
    pub(super) async fn another_replica(&mut self, error: KvError) {
        self.refused(error);
        self.nth += 1;
        self.pause().await;
    }

    /// What is waited for will come soon: ask again soon.
    pub(super) fn hurry(&mut self) {
        self.pause = PAUSE.0;
    }

    pub(super) async fn pause(&mut self) {
        let pause = self.pause.min(self.left());
        self.pause = (self.pause * 2).min(PAUSE.1);
        self.env.sleep(pause).await;
    }
}
