//! The heart of a stdio process: takes arrivals, starts each when its turn has come, and answers each exactly once.
//!
//! Invariants: a request that was answered before it started is never carried out; whatever a call says after its
//! request was answered is dropped; an answer is kept for the message's repetition before anything else may start.

mod calls;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value};
use tokio::sync::{RwLock, mpsc};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use calls::Attempt;

use crate::stdio::dedupe::Dedupe;
use crate::stdio::digest::{self, Digest};
use crate::stdio::error::{Code, ErrorReply};
use crate::stdio::failure::Failure;
use crate::stdio::intake::{Arrival, Work};
use crate::stdio::lanes::Ticket;
use crate::stdio::reply::{Answer, Reply};
use crate::stdio::schedule::Schedule;
use crate::stdio::serve::ServeOptions;
use crate::stdio::service::{Init, Service};
use crate::stdio::window::Slot;
use crate::stdio::writer::{Outbox, Outgoing};

/// A request between its arrival and its answer.
struct Pending<C> {
    src: Arc<str>,
    dest: Option<Arc<str>>,
    msg_id: Option<Number>,
    kind: String,
    digest: Option<Digest>,
    timeout: Duration,
    deadline: Instant,
    /// Taken when it starts.
    work: Option<Work<C>>,
    running: Option<AbortHandle>,
    /// Of a fault that has started.
    fault: Option<Attempt>,
    slot: Slot,
}

/// How far the service has come.
enum Phase {
    /// No `init` has succeeded.
    New,
    /// An `init` is being carried out.
    Starting,
    /// It has succeeded; what another `init` must be equal to.
    Ready(Digest),
}

/// What a call says when it ends.
struct Finished {
    ticket: Ticket,
    answer: Answer,
}

pub(crate) struct Dispatch<S: Service> {
    service: Arc<S>,
    options: ServeOptions,
    outbox: Outbox,
    failure: Failure,
    phase: Phase,
    /// The names that `init` has told of.
    names: HashSet<Arc<str>>,
    /// In whose name to answer what was sent to nobody.
    name: Arc<str>,
    schedule: Schedule,
    pending: HashMap<Ticket, Pending<S::Command>>,
    timers: BTreeSet<(Instant, Ticket)>,
    kept: Dedupe,
    calls: JoinSet<Finished>,
    /// Calls whose requests were answered without them; stopped after a while.
    late: HashMap<Ticket, AbortHandle>,
    /// The call of `init`, and what it was called with.
    init: Option<(Ticket, Digest)>,
    /// Held for reading by each call until it has been polled once, for writing by a fault that acts on those calls.
    entered: Arc<RwLock<()>>,
    /// Faults whose targets are unknown as long as a barrier above them has not been answered.
    refused_faults: Vec<Ticket>,
}

impl<S: Service> Dispatch<S> {
    pub(crate) fn new(service: Arc<S>, options: ServeOptions, outbox: Outbox, failure: Failure) -> Self {
        Dispatch {
            service,
            outbox,
            failure,
            phase: Phase::New,
            names: HashSet::new(),
            name: "".into(),
            schedule: Schedule::new(),
            pending: HashMap::new(),
            timers: BTreeSet::new(),
            kept: Dedupe::new(options.dedupe),
            calls: JoinSet::new(),
            late: HashMap::new(),
            init: None,
            entered: Arc::default(),
            refused_faults: Vec::new(),
            options,
        }
    }

    /// Runs until the last arrival has been answered, or nobody can be answered any more.
    pub(crate) async fn run(mut self, mut arrivals: mpsc::UnboundedReceiver<Arrival<S::Command>>) {
        let outbox = self.outbox.clone();
        let mut closed = std::pin::pin!(outbox.closed());
        let mut drain_at = None;
        while drain_at.is_none() || !self.pending.is_empty() {
            let now = Instant::now();
            let timer = self.timers.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = &mut closed => return,
                Some(finished) = self.calls.join_next() => self.finished(finished),
                () = sleep_until(timer.unwrap_or(now)), if timer.is_some() => self.tick(),
                () = sleep_until(drain_at.unwrap_or(now)), if drain_at.is_some() => self.give_up(),
                arrival = arrivals.recv(), if drain_at.is_none() => match arrival {
                    Some(arrival) => self.arrived(arrival),
                    None => drain_at = Some(now + self.options.drain_timeout),
                },
            }
            self.start_ready();
        }
    }

    fn arrived(&mut self, arrival: Arrival<S::Command>) {
        let Arrival { src, dest, msg_id, kind, digest, timeout, deadline, turn, work, slot } = arrival;
        let route = (src.clone(), dest.clone().unwrap_or_default());
        let ticket = self.schedule.add(route, turn);
        self.timers.insert((deadline, ticket));
        let (work, running, fault) = (Some(work), None, None);
        let pending = Pending { src, dest, msg_id, kind, digest, timeout, deadline, work, running, fault, slot };
        self.pending.insert(ticket, pending);
    }

    fn start_ready(&mut self) {
        while let Some(ticket) = self.schedule.next() {
            self.start(ticket);
        }
    }

    fn start(&mut self, ticket: Ticket) {
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        let Some(work) = pending.work.take() else { return };
        let dest = pending.dest.clone().unwrap_or_default();
        let (digest, deadline) = (pending.digest, pending.deadline);
        let refusal = self.refusal(&dest, &work);
        if Instant::now() >= deadline {
            return self.answer(ticket, Answer::error(&refusal.unwrap_or_else(not_started)));
        }
        if let Some(answer) = digest.and_then(|digest| self.kept.get(digest)).cloned() {
            return self.answer(ticket, answer);
        }
        if let Some(refusal) = refusal {
            return self.answer(ticket, Answer::error(&refusal));
        }
        match work {
            Work::Malformed(error) | Work::Refuse(error) => self.answer(ticket, Answer::error(&error)),
            Work::Init(body) => self.start_init(ticket, dest, body),
            Work::Call(command) => self.start_call(ticket, dest, command),
            Work::Fault(fault) => self.start_fault(ticket, fault),
        }
    }

    /// Why the work cannot be done as things stand.
    fn refusal(&self, dest: &str, work: &Work<S::Command>) -> Option<ErrorReply> {
        let ready = matches!(self.phase, Phase::Ready(_));
        match work {
            Work::Malformed(error) => Some(error.clone()),
            Work::Init(_) if !ready => None,
            _ if !ready => {
                Some(ErrorReply::unavailable("this process has not been initialised").reason("not_initialised"))
            }
            _ if !self.hosts(dest) => {
                Some(ErrorReply::not_found(format!("no node {dest:?} here")).reason("unknown_node"))
            }
            Work::Refuse(error) => Some(error.clone()),
            Work::Init(_) | Work::Call(_) | Work::Fault(_) => None,
        }
    }

    fn hosts(&self, dest: &str) -> bool {
        self.names.contains(dest) || self.service.hosts(dest)
    }

    fn start_init(&mut self, ticket: Ticket, dest: Arc<str>, body: Map<String, Value>) {
        let content = digest::of_body_without(&body, &["node_id", "msg_id"]);
        match self.phase {
            Phase::New => {
                self.phase = Phase::Starting;
                self.init = Some((ticket, content));
                self.learn_names(&dest, &body);
                let service = self.service.clone();
                let (outbox, failure) = (self.outbox.clone(), self.failure.clone());
                let deadline = self.pending.get(&ticket).map_or_else(Instant::now, |pending| pending.deadline);
                let init = Init { dest, outbox, failure, deadline, body };
                self.spawn(ticket, async move { service.init(init).await.map(|()| Reply::new()) });
            }
            Phase::Starting => {
                let error = ErrorReply::unavailable("another init is being carried out").reason("not_initialised");
                self.answer(ticket, Answer::error(&error));
            }
            Phase::Ready(first) if first == content => self.answer(ticket, Answer::new("init", Ok(Reply::new()))),
            Phase::Ready(_) => {
                let error = ErrorReply::malformed("initialised already, with another content");
                self.answer(ticket, Answer::error(&error.reason("already_initialised")));
            }
        }
    }

    fn learn_names(&mut self, dest: &Arc<str>, body: &Map<String, Value>) {
        let ids = body.get("node_ids").and_then(Value::as_array);
        self.name = body.get("node_id").and_then(Value::as_str).map_or(dest.clone(), Arc::from);
        self.names = ids.into_iter().flatten().filter_map(Value::as_str).map(Arc::from).collect();
        self.names.insert(self.name.clone());
    }

    fn finished(&mut self, finished: Result<Finished, JoinError>) {
        // Only calls that came too late are stopped.
        let Ok(Finished { ticket, answer }) = finished else { return };
        if let Some((_, content)) = self.init.take_if(|(init, _)| *init == ticket) {
            self.phase = if answer.code.is_none() { Phase::Ready(content) } else { Phase::New };
        }
        self.late.remove(&ticket);
        let Some(pending) = self.pending.get_mut(&ticket) else { return };
        pending.running = None;
        match &mut pending.fault {
            Some(attempt) if attempt.below_barrier && answer.code == Some(Code::NotFound) => {
                attempt.refused = Some(answer);
                self.refused_faults.push(ticket);
                self.retry_faults();
            }
            _ => self.answer(ticket, answer),
        }
    }

    /// Answers what has waited too long, and stops calls that go on long after that.
    fn tick(&mut self) {
        let now = Instant::now();
        while let Some((at, ticket)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            if let Some(call) = self.late.remove(&ticket) {
                call.abort();
            }
            let Some(pending) = self.pending.get_mut(&ticket) else { continue };
            let timeout = pending.timeout;
            let answer = match self.not_done(ticket, not_started) {
                Some(answer) => answer,
                None => Answer::error(&ErrorReply::timeout(format!("no answer within {} ms", timeout.as_millis()))),
            };
            self.let_run(ticket, now + timeout);
            self.answer(ticket, answer);
        }
    }

    /// The answer to a request that has not been carried out and never will be; `None` if it may have been.
    fn not_done(&mut self, ticket: Ticket, otherwise: impl FnOnce() -> ErrorReply) -> Option<Answer> {
        let pending = self.pending.get_mut(&ticket)?;
        if let Some(work) = pending.work.take() {
            return Some(match work {
                Work::Malformed(error) | Work::Refuse(error) => Answer::error(&error),
                Work::Init(_) | Work::Call(_) | Work::Fault(_) => Answer::error(&otherwise()),
            });
        }
        pending.fault.take().and_then(|attempt| attempt.refused)
    }

    /// Lets a call go on until `until` after its request has been answered. `init` may take as long as it needs.
    fn let_run(&mut self, ticket: Ticket, until: Instant) {
        let running = self.pending.get_mut(&ticket).and_then(|pending| pending.running.take());
        let is_init = self.init.as_ref().is_some_and(|(init, _)| *init == ticket);
        if let Some(running) = running
            && !is_init
        {
            self.late.insert(ticket, running);
            self.timers.insert((until, ticket));
        }
    }

    /// The time to finish is over: nothing starts any more.
    fn give_up(&mut self) {
        let mut left: Vec<Ticket> = self.pending.keys().copied().collect();
        left.sort_unstable();
        // First those that have not started, so that none of them starts when another one is answered.
        let (started, waiting): (Vec<Ticket>, Vec<Ticket>) =
            left.into_iter().partition(|ticket| self.schedule.has_started(*ticket));
        for ticket in waiting.into_iter().chain(started) {
            let stopping = "this process is stopping";
            let refused = || ErrorReply::unavailable(stopping).reason("shutting_down");
            let unknown = || Answer::error(&ErrorReply::timeout(stopping).reason("shutting_down"));
            let answer = self.not_done(ticket, refused).unwrap_or_else(unknown);
            self.answer(ticket, answer);
        }
    }

    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        self.timers.remove(&(pending.deadline, ticket));
        self.schedule.answered(ticket);
        if let Some(digest) = pending.digest {
            self.kept.keep(digest, &answer);
        }
        if let Some(msg_id) = pending.msg_id {
            let mut slot = pending.slot;
            slot.resize(answer.tail.len());
            let src = pending.dest.unwrap_or_else(|| self.name.clone());
            let (dest, in_reply_to, slot) = (pending.src, Some(msg_id), Some(slot));
            self.outbox.send(Outgoing::Message { src, dest, in_reply_to, answer, slot });
        }
        self.retry_faults();
    }
}

fn not_started() -> ErrorReply {
    ErrorReply::unavailable("its turn did not come in time").reason("not_started")
}
