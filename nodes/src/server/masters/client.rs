//! A client of masters: it asks whoever is the primary, and hears of new ones.
//!
//! Promises: a change takes effect once, however often it is sent and to however many masters; a call ends by its deadline; an
//! error says whether a change can have happened; of each epoch that it hears of it tells once, in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::env::{Env, RealEnv};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::server::is_unknown;
use crate::server::proto::quorate_client::QuorateClient;
use crate::server::proto::{MasterRequest, MastersReply, MastersRequest, Primary, WatchPrimaryRequest};
use crate::server::servers::{PATIENCE, PAUSE, connect, millis, with_deadline};
use crate::server::trust::ClientTls;

/// What changes the metadata, and so is numbered.
const CHANGES: [&str; 6] = ["create", "delete", "rename", "allocate_chunk", "register_chunkserver", "subscribe"];

/// Not to be sent again: it would replace the next primary.
const FAILOVER: &str = "trigger_failover";

/// The pause before a server that tells of no primaries is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a call failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MasterError {
    /// A master has answered so: nothing happened, and nothing will. The body of its error, see `docs/protocol.md`.
    #[error("{}", .0["text"].as_str().unwrap_or("refused"))]
    Refused(Value),
    /// No primary was found in time; nothing happened.
    #[error("no primary answers: {0}")]
    Unavailable(String),
    /// It may have happened.
    #[error("{0} (it may have happened)")]
    Unknown(String),
}

impl MasterError {
    /// The protocol's code.
    pub fn code(&self) -> u64 {
        match self {
            MasterError::Refused(body) => body["code"].as_u64().unwrap_or_default(),
            MasterError::Unavailable(_) => 11,
            MasterError::Unknown(_) => 0,
        }
    }
}

type Server = QuorateClient<Channel>;

/// A client of masters. It makes one change at a time: a session has one order.
pub struct MastersClient {
    name: String,
    tls: ClientTls,
    known: Mutex<Known>,
    session: String,
    seq: AtomicU64,
    changing: tokio::sync::Mutex<()>,
}

/// The servers that may be asked.
#[derive(Default)]
struct Known {
    servers: Vec<(String, Server)>,
    /// Where each master is among them.
    masters: BTreeMap<String, usize>,
    /// Who is asked next.
    next: usize,
}

impl Known {
    /// The place of a server, which is made if need be.
    fn place(&mut self, address: &str, tls: &ClientTls) -> anyhow::Result<usize> {
        if let Some(at) = self.servers.iter().position(|(known, _)| known == address) {
            return Ok(at);
        }
        self.servers.push((address.to_owned(), connect(address, tls)?));
        Ok(self.servers.len() - 1)
    }

    fn current(&self) -> Option<(usize, Server)> {
        let at = self.next.checked_rem(self.servers.len())?;
        Some((at, self.servers.get(at)?.1.clone()))
    }
}

impl std::fmt::Debug for MastersClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MastersClient").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MastersClient {
    /// A client called `name` (a chunk server's, say) of the masters that these servers (`host:port`) know of. Nothing is
    /// connected before it is used.
    ///
    /// # Errors
    /// When an address is none, or there is none, or a certificate cannot be read.
    pub fn new(
        name: &str,
        servers: impl IntoIterator<Item = impl AsRef<str>>,
        tls: &ClientTls,
    ) -> anyhow::Result<MastersClient> {
        let mut known = Known::default();
        for server in servers {
            known.place(server.as_ref(), tls)?;
        }
        anyhow::ensure!(!known.servers.is_empty(), "a client needs a server");
        Ok(MastersClient {
            name: name.to_owned(),
            tls: tls.clone(),
            known: Mutex::new(known),
            session: format!("masters-client-{:016x}", RealEnv.random()),
            seq: AtomicU64::new(0),
            changing: tokio::sync::Mutex::default(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the primary do what `body` says, as in `{"type":"create","path":"/a"}`, and gives the body of its answer.
    ///
    /// # Errors
    /// [`MasterError`]; a question changes nothing, whatever the error says.
    pub async fn call(&self, mut body: Value, timeout: Duration) -> Result<Value, MasterError> {
        let kind = body["type"].as_str().unwrap_or_default().to_owned();
        let is_change = CHANGES.contains(&kind.as_str());
        // Held until the change has been answered, or is given up.
        let _one_at_a_time = if is_change { Some(self.changing.lock().await) } else { None };
        if is_change {
            let seq = self.seq.fetch_add(1, Ordering::Relaxed) + 1;
            body["client"] = json!(self.session);
            body["seq"] = json!(seq);
            body["acked"] = json!(seq - 1);
        }
        let deadline = Instant::now() + timeout;
        let mut failures = 0;
        let mut unknown = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let patience = if kind == FAILOVER { left } else { left.min(PATIENCE) };
            let Some((at, server)) = self.known().current() else {
                return Err(MasterError::Unavailable("there are no servers".into()));
            };
            let why = match self.ask(server, &body, patience).await {
                Asked::Answered(answer) => return Ok(answer),
                Asked::Refused(error) => return Err(MasterError::Refused(error)),
                Asked::NotHere { why, primary } => {
                    self.turn_to(primary.as_deref(), at).await;
                    why
                }
                Asked::Unknown(why) if kind == FAILOVER => return Err(MasterError::Unknown(why)),
                Asked::Unknown(why) => {
                    unknown = Some(why.clone());
                    self.turn_to(None, at).await;
                    why
                }
            };
            if deadline <= Instant::now() {
                let unknown = unknown.filter(|_| is_change);
                return Err(unknown.map_or(MasterError::Unavailable(why), MasterError::Unknown));
            }
            failures += 1;
            if failures > 1 {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn ask(&self, mut server: Server, body: &Value, patience: Duration) -> Asked {
        let request = MasterRequest { client: self.name.clone(), body: body.to_string(), timeout_ms: millis(patience) };
        let answer = match server.master(with_deadline(request, patience)).await {
            Ok(reply) => serde_json::from_str::<Value>(&reply.into_inner().body),
            Err(status) if !is_unknown(&status) => {
                return Asked::NotHere { why: status.message().to_owned(), primary: None };
            }
            Err(status) => return Asked::Unknown(status.message().to_owned()),
        };
        match answer {
            Ok(answer) if answer["type"] != "error" => Asked::Answered(answer),
            Ok(error) => {
                let why = error["text"].as_str().unwrap_or_default().to_owned();
                match error["code"].as_u64() {
                    // Any master can be told of a failover: what one refuses, another would too.
                    Some(11) if body["type"] != FAILOVER => {
                        Asked::NotHere { why, primary: error["primary"].as_str().map(str::to_owned) }
                    }
                    Some(0 | 13) | None => Asked::Unknown(why),
                    Some(_) => Asked::Refused(error),
                }
            }
            Err(error) => Asked::Unknown(format!("an answer that is no JSON: {error}")),
        }
    }

    /// From now on the primary of this name is asked, or whoever comes after the server at `at`.
    async fn turn_to(&self, primary: Option<&str>, at: usize) {
        let place = |known: &Known| primary.and_then(|primary| known.masters.get(primary).copied());
        if primary.is_some() && place(&self.known()).is_none() {
            // Where it is: the next calls may know it.
            let _ = self.masters().await;
        }
        let mut known = self.known();
        known.next = match place(&known) {
            Some(place) if place != at => place,
            _ => at + 1,
        };
    }

    /// Which masters there are, and who is the primary, as the first server says that knows of masters.
    ///
    /// # Errors
    /// When none does.
    pub async fn masters(&self) -> Result<MastersReply, MasterError> {
        let servers: Vec<Server> = self.known().servers.iter().map(|(_, server)| server.clone()).collect();
        let mut last = String::new();
        for mut server in servers {
            match server.masters(with_deadline(MastersRequest {}, PATIENCE)).await {
                Ok(reply) => {
                    let reply = reply.into_inner();
                    let mut known = self.known();
                    for master in reply.masters.iter().filter(|master| !master.client.is_empty()) {
                        // One whose address is none is not asked.
                        if let Ok(at) = known.place(&master.client, &self.tls) {
                            known.masters.insert(master.name.clone(), at);
                        }
                    }
                    return Ok(reply);
                }
                Err(status) => last = status.message().to_owned(),
            }
        }
        Err(MasterError::Unavailable(last))
    }

    /// Hears of the primary that there is, and of each new one, for as long as it is held.
    pub async fn watch(&self) -> PrimaryChanges {
        // If nobody says where they are, those that are known are asked.
        let _ = self.masters().await;
        let (sender, receiver) = mpsc::unbounded_channel();
        let told = Arc::new(Mutex::new(0));
        let mut tasks = JoinSet::new();
        for (_, server) in &self.known().servers {
            tasks.spawn(listen(server.clone(), Arc::clone(&told), sender.clone()));
        }
        PrimaryChanges { receiver, _tasks: tasks }
    }
}

/// What one master made of a request.
enum Asked {
    Answered(Value),
    Refused(Value),
    /// It was not carried out there; who may.
    NotHere {
        why: String,
        primary: Option<String>,
    },
    Unknown(String),
}

/// New primaries. Dropping it ends the calls behind it.
#[derive(Debug)]
pub struct PrimaryChanges {
    receiver: mpsc::UnboundedReceiver<Primary>,
    _tasks: JoinSet<()>,
}

impl PrimaryChanges {
    /// Waits for the next one: its epoch is later than all before.
    pub async fn next(&mut self) -> Option<Primary> {
        self.receiver.recv().await
    }
}

/// Hears what one server tells, again and again; `told` is the newest epoch that any has told.
async fn listen(mut server: Server, told: Arc<Mutex<u64>>, sender: mpsc::UnboundedSender<Primary>) {
    let told = || told.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let request = WatchPrimaryRequest { after_epoch: *told() };
        if let Ok(stream) = server.watch_primary(request).await {
            let mut stream = stream.into_inner();
            while let Ok(Some(primary)) = stream.message().await {
                let mut told = told();
                if primary.epoch > *told {
                    *told = primary.epoch;
                    if sender.send(primary).is_err() {
                        return;
                    }
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}
