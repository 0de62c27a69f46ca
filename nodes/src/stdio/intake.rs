//! From bytes to arrivals: reads lines while there is room, stamps their deadlines, and has the service judge them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::digest::Digest;
use super::error::ErrorReply;
use super::message::{self, Line, Refused, Request};
use super::peers::{PEER_MESSAGE, PeerMessage};
use super::reader::{LineReader, RawLine};
use super::schedule::Turn;
use super::serve::ServeOptions;
use super::service::{Fault, Footprint, Order, Plan, Service};
use super::window::{Slot, Window};

/// A line that somebody may be waiting for an answer to.
#[derive(Debug)]
pub(crate) struct Arrival<C> {
    pub(crate) src: Arc<str>,
    /// Missing if it could not be read.
    pub(crate) dest: Option<Arc<str>>,
    pub(crate) msg_id: Option<Number>,
    /// The request's type.
    pub(crate) kind: String,
    /// What its repetition would have in common with it; only for requests that get a reply.
    pub(crate) digest: Option<Digest>,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    pub(crate) turn: Turn,
    pub(crate) work: Work<C>,
    pub(crate) slot: Slot,
}

/// What to do when its turn has come.
#[derive(Debug)]
pub(crate) enum Work<C> {
    /// Nothing: it makes no sense, initialised or not.
    Malformed(ErrorReply),
    /// Nothing: the service does not take it.
    Refuse(ErrorReply),
    /// Start the service.
    Init(Map<String, Value>),
    /// Ask the service.
    Call(C),
    /// Break or mend something.
    Fault(Fault),
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The input has ended, or cannot be read any more.
    Input,
    /// Somebody asked for it.
    Asked,
}

/// Reads until the end of the input or until `stop`.
pub(crate) async fn read<S: Service>(
    service: Arc<S>,
    input: impl AsyncRead + Unpin,
    options: ServeOptions,
    stop: impl Future<Output = ()>,
    arrivals: mpsc::UnboundedSender<Arrival<S::Command>>,
) -> End {
    let mut lines = LineReader::new(input, options.line_bytes);
    let window = Window::new(options.window);
    let mut stop = pin!(stop);
    loop {
        let line = async {
            // Answers may wait for other nodes' messages, which are read here: too many requests are refused instead.
            if !service.hears_peers() {
                window.room().await;
            }
            lines.next().await
        };
        let line = tokio::select! {
            biased;
            () = &mut stop => return End::Asked,
            line = line => line,
        };
        let arrival = match line {
            Ok(Some(line)) => arrive(&*service, line, &options, &window),
            Ok(None) => return End::Input,
            Err(error) => {
                tracing::error!("the input cannot be read: {error}");
                return End::Input;
            }
        };
        if let Some(arrival) = arrival
            && arrivals.send(arrival).is_err()
        {
            return End::Asked;
        }
    }
}

fn arrive<S: Service>(
    service: &S,
    line: RawLine,
    options: &ServeOptions,
    window: &Window,
) -> Option<Arrival<S::Command>> {
    let read_at = Instant::now();
    let (line, bytes) = match line {
        RawLine::Whole(bytes) => (message::parse(&bytes), bytes.len()),
        RawLine::TooLong(head) => (message::too_long(&head, options.line_bytes), head.len()),
    };
    match line {
        Line::Empty => None,
        Line::Unreadable(why) => {
            tracing::warn!("{why}");
            None
        }
        Line::Refused(Refused { src, dest, msg_id, error }) => {
            let slot = window.enter((src.clone(), dest.clone().unwrap_or_default()), bytes);
            Some(Arrival {
                src,
                dest,
                msg_id: Some(msg_id),
                kind: String::new(),
                digest: None,
                timeout: options.request_timeout,
                deadline: read_at + options.request_timeout,
                turn: Turn::Data(Footprint::default()),
                work: Work::Malformed(error),
                slot,
            })
        }
        Line::Request(request) if request.kind == PEER_MESSAGE && service.hears_peers() => {
            match PeerMessage::of(&request) {
                Ok(message) => service.hear(message),
                Err(error) => tracing::warn!("a node's message is lost: {}", error.text),
            }
            None
        }
        Line::Request(request) if service.hears_peers() && service.is_own(&request.kind) => {
            service.hear_own(request);
            None
        }
        Line::Request(request) => {
            let full = service.hears_peers() && !window.has_room();
            let slot = window.enter((request.src.clone(), request.dest.clone()), bytes);
            let mut judged = judge(service, &request, options.allow_faults);
            if full {
                let error = ErrorReply::unavailable("too many requests are in flight").reason("overloaded");
                judged = Judged { turn: Turn::Data(Footprint::default()), work: Work::Refuse(error), timeout: None };
            }
            let timeout = judged.timeout.unwrap_or(options.request_timeout).min(LONGEST_TIMEOUT);
            Some(Arrival {
                digest: request.msg_id.is_some().then(|| request.digest()),
                src: request.src,
                dest: Some(request.dest),
                msg_id: request.msg_id,
                kind: request.kind,
                timeout,
                deadline: read_at + timeout,
                turn: judged.turn,
                work: judged.work,
                slot,
            })
        }
    }
}

/// A day. Longer timeouts are meant as none, and would overflow the clock.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

struct Judged<C> {
    turn: Turn,
    work: Work<C>,
    timeout: Option<Duration>,
}

fn judge<S: Service>(service: &S, request: &Request, allow_faults: bool) -> Judged<S::Command> {
    let refuse = |error| Judged { turn: Turn::Data(Footprint::default()), work: Work::Refuse(error), timeout: None };
    match request.kind.as_str() {
        "init" => match check_init(request) {
            Ok(body) => Judged { turn: Turn::Init, work: Work::Init(body), timeout: None },
            Err(error) => Judged { turn: Turn::Init, work: Work::Malformed(error), timeout: None },
        },
        "fault" if !allow_faults => refuse(ErrorReply::not_supported("faults need --allow-faults")),
        "fault" => match Fault::of(request.fields()) {
            Ok(fault) => Judged { turn: Turn::Fault, work: Work::Fault(fault), timeout: None },
            Err(error) => refuse(error),
        },
        _ => match catch_unwind(AssertUnwindSafe(|| service.plan(request))) {
            Ok(Ok(Plan { command, order, timeout })) => {
                let turn = match order {
                    Order::Barrier => Turn::Barrier,
                    Order::Data(footprint) => Turn::Data(footprint),
                };
                Judged { turn, work: Work::Call(command), timeout }
            }
            Ok(Err(error)) => refuse(error),
            Err(_) => refuse(ErrorReply::crash("the request could not be judged: a mistake of ours")),
        },
    }
}

/// What every service's `init` has, if it is there at all.
fn check_init(request: &Request) -> Result<Map<String, Value>, ErrorReply> {
    let fields = request.fields();
    fields.optional_string("node_id")?;
    fields.optional_strings("node_ids")?;
    Ok(fields.map().clone())
}
