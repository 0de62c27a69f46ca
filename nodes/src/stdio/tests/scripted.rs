//! A service that does what its requests say: wait, hang, fail, panic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::stdio::{
    Call, ErrorReply, Fault, FaultAction, Footprint, Init, Key, Plan, Reply, Request, Service, unknown_type,
};

/// `get`, `put`, `scan`, `stale` and the barriers `config` and `failover`. Any of them may have `ms`, how long it takes,
/// and `gate`, a gate to wait for, which `fault` opens (`resume`). `config` makes the target `g1` known.
#[derive(Default)]
pub(super) struct Scripted {
    /// What was called, in order.
    pub(super) journal: Arc<Mutex<Vec<String>>>,
    store: Mutex<BTreeMap<String, String>>,
    open: watch::Sender<BTreeSet<String>>,
    configured: watch::Sender<bool>,
}

pub(super) struct Command {
    label: String,
    action: Action,
    wait: Duration,
    gate: Option<String>,
}

enum Action {
    Get(Key),
    Put(Key, String),
    Scan,
    Config,
    Failover,
    Fail,
    Panic,
}

impl Scripted {
    fn note(&self, what: impl Into<String>) {
        self.journal.lock().unwrap().push(what.into());
    }
}

#[async_trait]
impl Service for Scripted {
    type Command = Command;

    fn plan(&self, request: &Request) -> Result<Plan<Command>, ErrorReply> {
        let fields = request.fields();
        let wait = Duration::from_millis(fields.optional_unsigned("ms")?.unwrap_or(0));
        let gate = fields.optional_string("gate")?.map(str::to_owned);
        let command = |action, about: &str| Command {
            label: format!("{} {about}", request.kind).trim_end().to_owned(),
            action,
            wait,
            gate: gate.clone(),
        };
        match request.kind.as_str() {
            "get" => {
                let key = fields.key("key")?;
                Ok(Plan::data(command(Action::Get(key.clone()), key.name()), Footprint::read(key.name())))
            }
            "stale" => {
                let key = fields.key("key")?;
                Ok(Plan::stale_read(command(Action::Get(key.clone()), key.name())))
            }
            "put" => {
                let (key, value) = (fields.key("key")?, fields.json_text("value")?);
                let about = format!("{}={value}", key.name());
                Ok(Plan::data(command(Action::Put(key.clone(), value), &about), Footprint::write(key.name())))
            }
            "scan" => Ok(Plan::data(command(Action::Scan, ""), Footprint::read_everything())),
            "config" => Ok(Plan::barrier(command(Action::Config, ""))),
            "failover" => Ok(Plan::barrier(command(Action::Failover, "")).timeout(Duration::from_secs(12))),
            "fail" => Ok(Plan::stale_read(command(Action::Fail, ""))),
            "panic" => Ok(Plan::stale_read(command(Action::Panic, ""))),
            "panic_early" => panic!("as asked"),
            _ => Err(unknown_type(request)),
        }
    }

    fn hosts(&self, dest: &str) -> bool {
        dest == "g1" && *self.configured.borrow()
    }

    async fn init(&self, init: Init) -> Result<(), ErrorReply> {
        self.note("init");
        if let Some(ms) = init.fields().optional_unsigned("ms")? {
            sleep(Duration::from_millis(ms)).await;
        }
        if init.fields().flag("notify")? {
            init.outbox.notify("n1", "watcher", "hello", Reply::new());
        }
        init.node_ids().map(|_| ())
    }

    async fn call(&self, command: Command, call: Call) -> Result<Reply, ErrorReply> {
        self.note(format!("{} {}", call.src, command.label));
        if let Some(gate) = &command.gate {
            let mut open = self.open.subscribe();
            let _ = open.wait_for(|open| open.contains(gate)).await;
        }
        sleep(command.wait).await;
        let reply = match command.action {
            Action::Get(key) => {
                let value = self.store.lock().unwrap().get(key.name()).cloned();
                let reply = Reply::new().field("key", key.echo());
                match value {
                    Some(value) => reply.json_text("value", &value),
                    None => reply,
                }
            }
            Action::Put(key, value) => {
                self.store.lock().unwrap().insert(key.name().to_owned(), value);
                Reply::new()
            }
            Action::Scan => Reply::new().field("keys", self.store.lock().unwrap().keys().cloned().collect::<Vec<_>>()),
            Action::Config => {
                self.configured.send_replace(true);
                Reply::new()
            }
            Action::Failover => Reply::new(),
            Action::Fail => return Err(ErrorReply::precondition("as asked").reason("asked").hint("n", Value::from(1))),
            Action::Panic => panic!("as asked"),
        };
        if !command.wait.is_zero() || command.gate.is_some() {
            self.note(format!("{} {} done", call.src, command.label));
        }
        Ok(reply)
    }

    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        self.note(format!("fault {}", fault.target));
        if fault.target == "nowhere" || fault.target == "g1" && !self.hosts("g1") {
            return Err(ErrorReply::not_found("no such target"));
        }
        match fault.action {
            FaultAction::Resume => _ = self.open.send_modify(|open| _ = open.insert(fault.target)),
            FaultAction::Delay(time) => sleep(time).await,
            _ => {}
        }
        Ok(())
    }

    async fn shutdown(&self) {
        self.note("shutdown");
    }
}
