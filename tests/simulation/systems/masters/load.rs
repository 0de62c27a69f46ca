//! What clients ask of the masters: files, each created once; and what must come of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::NodeId;
use quorate::sessions::Stamp;
use quorate::types::ClientId;
use quorate_harness::sim::Sim;
use quorate_nodes::services::master::Command;
use quorate_nodes::stdio::{ErrorReply, Reply};
use quorate_statemachines::master::{FilePath, MasterOp, MasterQuery};
use rand::RngExt;
use serde_json::{Value, json};

use super::node::{Master, Seen, name};

/// How long one call takes at most, and how long the client of a number asks again.
const CALL: Duration = Duration::from_millis(800);
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// What a client was told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Created,
    Refused,
    Unknown,
}

/// All clients, and what they were told.
pub(super) struct Load {
    sim: Sim,
    nodes: Vec<NodeId>,
    seen: Seen,
    files: Mutex<BTreeMap<String, Told>>,
}

impl Load {
    pub(super) fn new(sim: &Sim, nodes: Vec<NodeId>, seen: Seen) -> Arc<Load> {
        Arc::new(Load { sim: sim.clone(), nodes, seen, files: Mutex::default() })
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Told>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request to one master; `None` when there is no answer.
    async fn ask(&self, node: NodeId, who: &str, command: Command) -> Option<Result<Reply, ErrorReply>> {
        let running = self.sim.process::<Master>(node)?;
        let (name, deadline) = (name(node), tokio::time::Instant::now() + CALL);
        running.ask(CALL * 2, running.process.masters.call(&name, who, command, deadline)).await
    }

    /// Asks one after the other, the primary if one is named, until one answers or `patience` has passed. The request must be
    /// safe to repeat. The error says whether any attempt may have been carried out.
    async fn insist(&self, who: &str, command: &Command, patience: Duration) -> Result<Reply, (bool, String)> {
        let deadline = self.sim.now() + patience;
        let (mut place, mut unknown, mut last) = (0, false, "never asked".to_owned());
        loop {
            let node = self.nodes[place % self.nodes.len()];
            let mut hint = None;
            match self.ask(node, who, command.clone()).await {
                Some(Ok(reply)) => return Ok(reply),
                Some(Err(error)) => {
                    unknown |= !error.code.is_definite();
                    if !matches!(error.code.number(), 0 | 11 | 13) {
                        return Err((unknown, error.to_string()));
                    }
                    let named = error.hints.iter().find(|(name, _)| name == "primary");
                    let named = named.and_then(|(_, primary)| primary.as_str());
                    hint = named.and_then(|named| self.nodes.iter().position(|node| name(*node) == named));
                    last = error.to_string();
                }
                None => unknown = true,
            }
            if self.sim.now() >= deadline {
                return Err((unknown, last));
            }
            place = hint.filter(|hint| *hint != place).unwrap_or(place + 1);
            self.sim.sleep(PAUSE).await;
        }
    }

    /// Has somebody told of every epoch from now on. Whether that was done.
    pub(super) async fn subscribe(&self, who: &str, patience: Duration) -> bool {
        let op = MasterOp::Subscribe { who: who.into() };
        let command = Command::Change { op, claimed: None, session: None };
        match self.insist(who, &command, patience).await {
            Ok(reply) => {
                let text = |name| reply.get(name).and_then(|value| value.as_str().map(str::to_owned));
                let epoch = reply.get("epoch").and_then(|epoch| epoch.as_u64());
                if let (Some(primary), Some(epoch)) = (text("primary"), epoch) {
                    self.seen.judge(|epochs| epochs.served(epoch, &primary));
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Asks again and again who serves.
    pub(super) async fn watch(&self, length: Duration) {
        while self.sim.now() < length {
            self.subscribe("observer", Duration::ZERO).await;
            self.sim.sleep(Duration::from_millis(60)).await;
        }
    }

    /// Waits until every master lives and every shadow lags behind by nothing.
    pub(super) async fn settle(&self, within: Duration) {
        let deadline = self.sim.now() + within;
        loop {
            let status = self.insist("observer", &Command::ShadowStatus, Duration::ZERO).await;
            let caught_up = |shadow: &Value| {
                shadow["alive"] == true && shadow["wal_lag_entries"] == 0 && shadow["wal_lag_ms"].as_u64().is_some()
            };
            let shadows = status.as_ref().ok().and_then(|reply| reply.get("shadows"));
            let all = shadows.as_ref().and_then(Value::as_array);
            if all.is_some_and(|all| all.len() + 1 == self.nodes.len() && all.iter().all(caught_up)) {
                return;
            }
            if self.sim.now() >= deadline {
                let reason = format!("they have not after {within:?}: {status:?}");
                return self.sim.violate("shadows catch up when all is well", reason);
            }
            self.sim.sleep(PAUSE).await;
        }
    }

    /// Every acknowledged file is there, and none that was refused.
    pub(super) async fn judge(&self, patience: Duration) {
        let mut found: Vec<String> = Vec::new();
        loop {
            let from = found.last().map(|path| format!("{path}\0").into());
            let query = MasterQuery::List { prefix: "".into(), from, limit: 1_000 };
            let command = Command::Question { query, claimed: None };
            let reply = match self.insist("observer", &command, patience).await {
                Ok(reply) => reply,
                Err((_, error)) => return self.sim.violate("masters serve when all is well", error),
            };
            let page = reply.get("paths").unwrap_or_default();
            found.extend(page.as_array().into_iter().flatten().filter_map(|path| path.as_str().map(str::to_owned)));
            if reply.get("more") != Some(Value::Bool(true)) {
                break;
            }
        }
        let files = self.files().clone();
        for (path, told) in &files {
            let is_there = found.binary_search(path).is_ok();
            match told {
                Told::Created if !is_there => {
                    return self.sim.violate("no acknowledged file is lost", format!("{path} is not among {found:?}"));
                }
                Told::Refused if is_there => {
                    return self.sim.violate("what is refused is not done", format!("{path} is there"));
                }
                _ => {}
            }
        }
        if let Some(strange) = found.iter().find(|path| !files.contains_key(*path)) {
            self.sim.violate("there is nothing but what was created", format!("{strange} is there"));
        }
    }
}

/// One client.
pub(super) struct Client {
    load: Arc<Load>,
    process: u64,
}

impl Client {
    pub(super) fn new(load: &Arc<Load>, process: u64) -> Client {
        Client { load: Arc::clone(load), process }
    }

    /// Creates one file after the other until `length` has passed.
    pub(super) async fn run(self, operations: u64, length: Duration) {
        let (load, process) = (&self.load, self.process);
        let sim = &load.sim;
        let mut acked = None;
        for number in 1..=operations {
            let mut random = sim.random("operation", process << 32 | number);
            sim.sleep(Duration::from_millis(random.random_range(0..2 * length.as_millis() as u64 / operations))).await;
            if sim.now() >= length {
                return;
            }
            if !sim.plan().keeps(process, number) {
                continue;
            }
            let text = format!("/{process}/{number}");
            let Ok(path) = FilePath::new(text.as_str()) else { return };
            load.files().insert(text.clone(), Told::Unknown);
            let stamp = Stamp { client: ClientId::new(format!("client-{process}")), seq: number, acked };
            let command = Command::Change { op: MasterOp::Create { path }, claimed: None, session: Some(stamp) };
            let ticket = sim.invoke(process, "create", json!(text), Value::Null, None);
            let told = match load.insist(&format!("client-{process}"), &command, PATIENCE).await {
                Ok(_) => {
                    ticket.ok(json!(text));
                    Told::Created
                }
                Err((true, error)) => {
                    ticket.info(error);
                    Told::Unknown
                }
                Err((false, error)) => {
                    ticket.fail(error);
                    Told::Refused
                }
            };
            load.files().insert(text, told);
            acked = Some(number);
        }
    }
}
