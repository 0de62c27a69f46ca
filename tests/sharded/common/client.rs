//! A client as the tests mean it: one call at a time, each retried under one session number until it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::sessions::ClientSession;
use quorate::{ClientId, Consistency};
use quorate_nodes::kv::{KvClient, KvError};
use quorate_statemachines::kv::{Json, KvOp, Outcome};

use super::PATIENCE;

/// How long one attempt of a call may take before the client tries again.
const CALL: Duration = Duration::from_secs(5);

/// A client with a session of its own.
pub(crate) struct Client {
    kv: Arc<KvClient>,
    session: ClientSession,
}

/// The JSON string of a text.
pub(crate) fn json(text: &str) -> Json {
    Json::from(&serde_json::Value::from(text))
}

impl Client {
    pub(crate) fn new(kv: &Arc<KvClient>) -> Client {
        let name = ClientId::new(format!("{:032x}", rand::random::<u128>()));
        Client { kv: Arc::clone(kv), session: ClientSession::new(name) }
    }

    /// Carries out an operation, once; fails the test when it is not done within [`PATIENCE`].
    pub(crate) async fn run(&self, op: KvOp) -> Outcome {
        self.run_within(op.clone(), PATIENCE).await.unwrap_or_else(|error| panic!("{op:?}: {error}"))
    }

    /// Carries out an operation, once.
    pub(crate) async fn run_within(&self, op: KvOp, patience: Duration) -> Result<Outcome, KvError> {
        let call = self.session.call().expect("one call at a time");
        let start = Instant::now();
        loop {
            let error = match self.kv.execute(op.clone(), Some(call.stamp().clone()), CALL.min(patience)).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            let is_final = matches!(
                error,
                KvError::SessionExpired | KvError::SessionWindow | KvError::SeqReused | KvError::Invalid(_)
            );
            if is_final || start.elapsed() >= patience {
                return Err(error);
            }
        }
    }

    pub(crate) async fn put(&self, key: &Arc<str>, value: &str) {
        assert_eq!(self.run(KvOp::Put { key: Arc::clone(key), value: json(value) }).await, Outcome::Put);
    }

    pub(crate) async fn append(&self, key: &Arc<str>, value: &str) {
        assert_eq!(self.run(KvOp::Append { key: Arc::clone(key), value: json(value) }).await, Outcome::Appended);
    }

    pub(crate) async fn delete(&self, key: &Arc<str>) {
        assert_eq!(self.run(KvOp::Delete { key: Arc::clone(key) }).await, Outcome::Deleted { existed: true });
    }

    /// The key's text; `None` when there is no such key.
    pub(crate) async fn read_within(&self, key: &Arc<str>, patience: Duration) -> Result<Option<String>, KvError> {
        let start = Instant::now();
        loop {
            match self.kv.get(key, Consistency::Linearizable, CALL.min(patience)).await {
                Ok(reply) => return Ok(reply.answer.map(|value| as_text(&value))),
                Err(error) if start.elapsed() >= patience => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// The key's text, empty when there is none.
    pub(crate) async fn get(&self, key: &Arc<str>) -> String {
        let text = self.read_within(key, PATIENCE).await.unwrap_or_else(|error| panic!("get {key}: {error}"));
        text.unwrap_or_default()
    }

    /// The key has exactly this text.
    pub(crate) async fn check(&self, key: &Arc<str>, expected: &str) {
        assert_eq!(self.get(key).await, expected, "key {key}");
    }
}

fn as_text(value: &Json) -> String {
    match value.value() {
        Some(serde_json::Value::String(text)) => text,
        other => panic!("not a text: {other:?}"),
    }
}
