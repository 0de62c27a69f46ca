//! What a binary must supply to be driven over standard input and output, and what it is given.
//!
//! Promises to a service: `init` ends before anything else is called; every command was validated by its own `plan`;
//! commands that conflict never overlap; `shutdown` is the last call.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::error::ErrorReply;
use super::failure::Failure;
use super::fields::Fields;
use super::message::Request;
use super::peers::PeerMessage;
use super::reply::Reply;
use super::writer::Outbox;

/// A service behind the stdio protocol: everything of the protocol's general rules is done around it.
#[async_trait]
pub trait Service: Send + Sync + 'static {
    /// A request, decoded and validated.
    type Command: Send + 'static;

    /// Decodes and validates a request and says how it is ordered. An unknown type is error 10
    /// ([`unknown_type`]), missing or ill-typed fields are error 12. Must not block; is called before `init` too.
    fn plan(&self, request: &Request) -> Result<Plan<Self::Command>, ErrorReply>;

    /// Whether messages may be sent to `dest`, besides the names of `init`. Asked when a request's turn has come.
    fn hosts(&self, dest: &str) -> bool {
        let _ = dest;
        false
    }

    /// Takes a message of another node; those that come before `init` are lost. Must not block.
    fn hear(&self, message: PeerMessage) {
        let _ = message;
    }

    /// Whether nodes are processes of their own: then a `raft` message is for [`Service::hear`] and gets no answer.
    fn hears_peers(&self) -> bool {
        false
    }

    /// Whether messages of this type are the service's own between nodes: then they are for [`Service::hear_own`] and get
    /// no answer. Only where [`Service::hears_peers`].
    fn is_own(&self, kind: &str) -> bool {
        let _ = kind;
        false
    }

    /// Takes a message of such a type; those that come before `init` are heard too. Must not block.
    fn hear_own(&self, message: Request) {
        let _ = message;
    }

    /// Starts the service. Called again with the next `init` if it fails.
    async fn init(&self, init: Init) -> Result<(), ErrorReply>;

    /// Carries a command out. Should answer by `call.deadline`; an answer after that may come too late.
    async fn call(&self, command: Self::Command, call: Call) -> Result<Reply, ErrorReply>;

    /// Breaks or mends something. Error 1 promises that nothing was done.
    async fn fault(&self, fault: Fault) -> Result<(), ErrorReply> {
        Err(ErrorReply::not_supported(format!("no faults here: {:?}", fault.action)))
    }

    /// Flushes and stops. Nothing is called afterwards.
    async fn shutdown(&self);
}

/// Error 10 for a type that the service does not know.
pub fn unknown_type(request: &Request) -> ErrorReply {
    ErrorReply::not_supported(format!("unknown type {:?}", request.kind))
}

/// A request as its service understands it.
#[derive(Clone, Debug)]
pub struct Plan<C> {
    /// What to do.
    pub command: C,
    /// When to do it.
    pub order: Order,
    /// The time within which it is to be answered, if it is not the request timeout.
    pub timeout: Option<Duration>,
}

impl<C> Plan<C> {
    /// A command that starts when everything above it has been answered, and holds back what follows until then.
    pub fn barrier(command: C) -> Self {
        Plan { command, order: Order::Barrier, timeout: None }
    }

    /// A command that sees every write above it to what it touches.
    pub fn data(command: C, footprint: Footprint) -> Self {
        Plan { command, order: Order::Data(footprint), timeout: None }
    }

    /// A read that accepts staleness: it waits for nothing but its own client's requests.
    pub fn stale_read(command: C) -> Self {
        Plan::data(command, Footprint::default())
    }

    /// The same with a timeout of its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// How a request is ordered among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// After everything above it has been answered, before everything below it.
    Barrier,
    /// After its own client's requests to the same node, and after whatever above it conflicts with its footprint.
    Data(Footprint),
}

/// What a request touches. Two requests conflict if they touch the same and at least one of them writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The keys that it only reads.
    pub reads: BTreeSet<Arc<str>>,
    /// The keys that it may write.
    pub writes: BTreeSet<Arc<str>>,
    /// Whether it touches every key.
    pub everything: Option<Access>,
}

/// What a request does with what it touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It reads.
    Read,
    /// It may write.
    Write,
}

impl Footprint {
    /// It reads one key.
    pub fn read(key: &str) -> Self {
        Footprint::default().and_read(key)
    }

    /// It may write one key.
    pub fn write(key: &str) -> Self {
        Footprint::default().and_write(key)
    }

    /// It reads any key, as a scan does.
    pub fn read_everything() -> Self {
        Footprint { everything: Some(Access::Read), ..Footprint::default() }
    }

    /// It may write any key.
    pub fn write_everything() -> Self {
        Footprint { everything: Some(Access::Write), ..Footprint::default() }
    }

    /// The same and one more key read.
    pub fn and_read(mut self, key: &str) -> Self {
        self.reads.insert(key.into());
        self
    }

    /// The same and one more key written.
    pub fn and_write(mut self, key: &str) -> Self {
        self.writes.insert(key.into());
        self
    }
}

/// Who called, and how long the answer may take.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client.
    pub src: Arc<str>,
    /// The node that it asked.
    pub dest: Arc<str>,
    /// When to have answered: a little before the runtime answers in the service's place.
    pub deadline: Instant,
}

/// The message that starts a service.
#[derive(Clone, Debug)]
pub struct Init {
    /// The node that it was sent to.
    pub dest: Arc<str>,
    /// Where to send messages that answer nothing.
    pub outbox: Outbox,
    /// Whom to tell when the service cannot go on.
    pub failure: Failure,
    /// When it will have been answered, by the service or in its place.
    pub deadline: Instant,
    pub(crate) body: Map<String, Value>,
}

impl Init {
    /// The body's fields.
    pub fn fields(&self) -> Fields<'_> {
        Fields::new(&self.body)
    }

    /// The node that this process is, which `dest` says when `node_id` is missing.
    pub fn node_id(&self) -> Result<&str, ErrorReply> {
        Ok(self.fields().optional_string("node_id")?.unwrap_or(&self.dest))
    }

    /// The names of `node_ids`: at least one, no two alike, `node_id` and `dest` among them.
    pub fn node_ids(&self) -> Result<Vec<String>, ErrorReply> {
        let names = self.fields().strings("node_ids")?;
        let node_id = self.node_id()?;
        let distinct: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        if distinct.len() < names.len() {
            return Err(ErrorReply::malformed("field `node_ids` names a node twice"));
        }
        if !distinct.contains(node_id) {
            return Err(ErrorReply::malformed(format!("node {node_id:?} is not among `node_ids`")));
        }
        if !distinct.contains(&*self.dest) {
            return Err(ErrorReply::not_found(format!("{:?} is not among `node_ids`", self.dest)));
        }
        Ok(names)
    }
}

/// Something to break or mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What to do.
    pub action: FaultAction,
    /// To what: `n1`, `g1`, `g1/0`, `g1/leader`, `controller/0`, ...
    pub target: String,
}

/// What a fault does to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAction {
    /// Crash it; what its store had persisted stays.
    Stop,
    /// Recover it from its store.
    Start,
    /// Freeze it, as SIGSTOP does.
    Pause,
    /// Let it go on.
    Resume,
    /// Cut it from its peers, not from clients.
    Isolate,
    /// Undo `Isolate` and `Delay`.
    Heal,
    /// Hold back each of its messages to peers for so long.
    Delay(Duration),
}

impl Fault {
    pub(crate) fn of(fields: Fields<'_>) -> Result<Fault, ErrorReply> {
        let ms = fields.optional_unsigned("ms")?.map(Duration::from_millis);
        let action = match fields.string("action")? {
            "stop" => FaultAction::Stop,
            "start" => FaultAction::Start,
            "pause" => FaultAction::Pause,
            "resume" => FaultAction::Resume,
            "isolate" => FaultAction::Isolate,
            "heal" => FaultAction::Heal,
            "delay" => FaultAction::Delay(
                ms.ok_or_else(|| ErrorReply::malformed("field `ms` is missing: a non-negative integer"))?,
            ),
            other => return Err(ErrorReply::malformed(format!("no such action: {other:?}"))),
        };
        Ok(Fault { action, target: fields.string("target")?.to_owned() })
    }
}
