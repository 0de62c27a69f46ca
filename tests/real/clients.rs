//! Clients at work on keys. Half of them have one node that they ask; the others know all nodes, and ask again elsewhere
//! what one has not answered.
//!
//! A client that does not know what became of a change is done: another one with another number takes its place.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::ValueEnum;
use quorate_harness::run::EventKind;
use quorate_nodes::server::proto::change_reply::Outcome;
use quorate_nodes::server::proto::change_request::Change;
use quorate_nodes::server::proto::{Cas, Delete};
use quorate_nodes::server::{Client, ClientError};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::judge::{LISTS, token};
use crate::recorder::Recorder;

/// How long a client waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// So many operations on a few keys, then others: a key with few operations is judged quickly.
const OPERATIONS_PER_ERA: u64 = 600;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Strings: get, put, append; and lists that are only appended to.
    Kv,
    /// Registers: read, write, compare-and-set, delete.
    Registers,
}

impl Workload {
    /// Its name in `store/`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Kv => "real-kv",
            Workload::Registers => "real-registers",
        }
    }
}

/// Where the nodes are, as far as clients know. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<Mutex<BTreeMap<u64, String>>>);

impl Directory {
    /// The nodes are here now.
    pub(crate) fn set(&self, nodes: BTreeMap<u64, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = nodes;
    }

    /// All of them.
    pub(crate) fn all(&self) -> BTreeMap<u64, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of them, or all, and what to call that.
    fn pick(&self, nth: usize, all: bool) -> Option<(String, Vec<String>)> {
        let mut nodes: Vec<(u64, String)> = self.all().into_iter().collect();
        let count = nodes.len();
        nodes.rotate_left(nth.checked_rem(count)?);
        let name = if all { "any".to_owned() } else { format!("n{}", nodes.first()?.0) };
        let addresses = nodes.into_iter().map(|(_, address)| address);
        Some((name, addresses.take(if all { count } else { 1 }).collect()))
    }
}

/// What clients share.
pub(crate) struct Work {
    pub(crate) workload: Workload,
    pub(crate) recorder: Recorder,
    pub(crate) directory: Directory,
    /// The time between a client's operations, on average.
    pub(crate) pause: Duration,
    /// How many have been called.
    pub(crate) operations: AtomicU64,
    pub(crate) stop: AtomicBool,
}

/// What an operation came to.
struct Said(EventKind, Value, Option<Value>);

/// One client as others see it.
struct Caller {
    process: u64,
    node: String,
    /// How many operations it has called.
    called: u64,
}

/// Works until told to stop.
///
/// # Errors
/// When a node's address is none.
pub(crate) async fn work(work: Arc<Work>, nth: u64, seed: u64) -> anyhow::Result<()> {
    let mut rng = SmallRng::seed_from_u64(seed ^ nth);
    let is_over = || work.stop.load(Ordering::Relaxed);
    while !is_over() {
        let mut caller = Caller { process: work.recorder.process(), node: String::new(), called: 0 };
        let mut asked = rng.random_range(0..1000);
        // As long as it knows what became of its changes.
        let mut knows = true;
        while knows && !is_over() {
            let Some((node, addresses)) = work.directory.pick(asked, nth % 2 == 1) else { return Ok(()) };
            caller.node = node;
            let client = Client::new(addresses)?;
            let mut serves = true;
            while knows && serves && !is_over() {
                tokio::time::sleep(work.pause.mul_f64(rng.random_range(0.0..2.0))).await;
                let kind = operate(&work, &client, &mut caller, &mut rng).await;
                (knows, serves) = (kind != EventKind::Info, kind != EventKind::Fail);
            }
            // Another one may be better.
            asked += 1;
        }
    }
    Ok(())
}

/// Reads keys from one node, and says whether it answered for all.
///
/// # Errors
/// When the node's address is none.
pub(crate) async fn read_all(work: &Work, id: u64, address: &str, keys: &[String]) -> anyhow::Result<bool> {
    let (process, node, client) = (work.recorder.process(), format!("n{id}"), Client::new([address])?);
    for key in keys {
        let called = work.recorder.call(process, &node, "read", json!(key), Value::Null);
        let Said(kind, value, error) = read(&client, key).await;
        work.recorder.ended(&called, kind, value, error);
        if kind != EventKind::Ok {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Work {
    fn era(&self) -> u64 {
        self.operations.load(Ordering::Relaxed) / OPERATIONS_PER_ERA
    }

    /// The keys that are in use.
    pub(crate) fn keys(&self) -> Vec<String> {
        let era = self.era();
        let list = match self.workload {
            Workload::Kv => format!("{LISTS}{era}"),
            Workload::Registers => format!("k{}", 3 * era + 2),
        };
        vec![format!("k{}", 3 * era), format!("k{}", 3 * era + 1), list]
    }

    /// The lists that there are.
    pub(crate) fn lists(&self) -> Vec<String> {
        match self.workload {
            Workload::Kv => (0..=self.era()).map(|era| format!("{LISTS}{era}")).collect(),
            Workload::Registers => Vec::new(),
        }
    }
}

/// One operation on one of the keys.
async fn operate(work: &Work, client: &Client, caller: &mut Caller, rng: &mut SmallRng) -> EventKind {
    let keys = work.keys();
    work.operations.fetch_add(1, Ordering::Relaxed);
    caller.called += 1;
    let key = &keys[rng.random_range(0..keys.len())];
    let value = rng.random_range(0..5);
    let more = json!(token((caller.process, caller.called)));
    let (f, asked) = match (work.workload, rng.random_range(0..8)) {
        (_, 0..3) => ("read", Value::Null),
        (Workload::Registers, 3 | 4) => ("write", json!(value)),
        (Workload::Registers, 5 | 6) => ("cas", json!([value, rng.random_range(0..5)])),
        (Workload::Registers, _) => ("delete", Value::Null),
        (Workload::Kv, 3) if !key.starts_with(LISTS) => ("put", more),
        (Workload::Kv, _) => ("append", more),
    };
    let called = work.recorder.call(caller.process, &caller.node, f, json!(key), asked.clone());
    let Said(kind, value, error) = match f {
        "read" => read(client, key).await,
        _ => change(client, key, f, &asked).await,
    };
    work.recorder.ended(&called, kind, value, error);
    kind
}

async fn read(client: &Client, key: &str) -> Said {
    match client.get(key, None, TIMEOUT).await.map(|reply| reply.value) {
        Ok(None) => Said(EventKind::Ok, Value::Null, None),
        Ok(Some(text)) => match serde_json::from_str(&text) {
            Ok(value) => Said(EventKind::Ok, value, None),
            // Nobody wrote that.
            Err(_) => Said(EventKind::Ok, json!({ "not_json": text }), None),
        },
        Err(error) => Said(EventKind::Fail, Value::Null, Some(json!(error.to_string()))),
    }
}

async fn change(client: &Client, key: &str, f: &str, asked: &Value) -> Said {
    let change = match (f, asked) {
        ("cas", Value::Array(pair)) => {
            let text = |nth: usize| pair.get(nth).map(Value::to_string).unwrap_or_default();
            Change::Cas(Cas { from: text(0), to: text(1), create_if_not_exists: false })
        }
        ("delete", _) => Change::Delete(Delete {}),
        ("append", value) => Change::Append(value.to_string()),
        (_, value) => Change::Put(value.to_string()),
    };
    let asked = asked.clone();
    match client.change(key, change, TIMEOUT).await.map(|reply| reply.outcome()) {
        Ok(Outcome::Done) if f == "delete" => Said(EventKind::Ok, json!(true), None),
        Ok(Outcome::Absent) => Said(EventKind::Ok, json!(false), None),
        Ok(Outcome::Done) => Said(EventKind::Ok, asked, None),
        Ok(Outcome::Missing | Outcome::Different) => Said(EventKind::Fail, asked, Some(json!("precondition-failed"))),
        Ok(other) => Said(EventKind::Fail, asked, Some(json!(other.as_str_name()))),
        Err(error @ ClientError::Rejected(_)) => Said(EventKind::Fail, asked, Some(json!(error.to_string()))),
        Err(error @ ClientError::Unknown(_)) => Said(EventKind::Info, asked, Some(json!(error.to_string()))),
    }
}
