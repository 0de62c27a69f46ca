//! What clients call and what they are told, and what is done to nodes, in the order in which it happens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quorate_harness::run::{Event, EventKind, FaultWindow};
use serde_json::Value;

/// A record of a run. Clones write into the same one.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Shared>);

struct Shared {
    start: Instant,
    record: Mutex<Record>,
}

#[derive(Default)]
struct Record {
    events: Vec<Event>,
    faults: Vec<FaultWindow>,
    glance: Glance,
    /// The number of the next client.
    next: u64,
}

/// How a run goes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Glance {
    /// What it is doing.
    pub(crate) phase: &'static str,
    /// Operations that ended well, not at all, and in a way that nobody knows.
    pub(crate) ends: [u64; 3],
    /// What is wrong with the nodes at the moment.
    pub(crate) faults: Vec<String>,
}

/// An operation that has been called.
pub(crate) struct Called {
    process: u64,
    f: String,
    key: Value,
    node: String,
}

/// Something that is being done to nodes.
#[must_use]
pub(crate) struct Window(usize);

impl Recorder {
    /// An empty record; time runs from now on.
    pub(crate) fn new() -> Recorder {
        Recorder(Arc::new(Shared { start: Instant::now(), record: Mutex::default() }))
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time of the run.
    pub(crate) fn now(&self) -> Duration {
        self.0.start.elapsed()
    }

    /// Says what the run is doing.
    pub(crate) fn enter(&self, phase: &'static str) {
        self.record().glance.phase = phase;
    }

    /// A number that no client had.
    pub(crate) fn process(&self) -> u64 {
        let mut record = self.record();
        record.next += 1;
        record.next - 1
    }

    /// A client is about to ask a node. To be said before anything is sent.
    pub(crate) fn call(&self, process: u64, node: &str, f: &str, key: Value, value: Value) -> Called {
        let called = Called { process, f: f.to_owned(), key, node: node.to_owned() };
        self.note(&called, EventKind::Invoke, value, None);
        called
    }

    /// A client was told what came of it, or knows that it will not be told.
    pub(crate) fn ended(&self, called: &Called, kind: EventKind, value: Value, error: Option<Value>) {
        self.note(called, kind, value, error);
    }

    fn note(&self, called: &Called, kind: EventKind, value: Value, error: Option<Value>) {
        let Called { process, f, key, node } = called;
        let (f, key, node) = (f.clone(), key.clone(), Some(node.clone()));
        let mut record = self.record();
        let [ok, fail, info] = &mut record.glance.ends;
        match kind {
            EventKind::Invoke => {}
            EventKind::Ok => *ok += 1,
            EventKind::Fail => *fail += 1,
            EventKind::Info => *info += 1,
        }
        // The clock is read under the lock, so that times are in the order of events.
        let time = self.now();
        record.events.push(Event { process: *process, kind, f, key, value, time, error, node });
    }

    /// Something is done to nodes from now on.
    pub(crate) fn begin(&self, kind: &str, targets: Vec<String>) -> Window {
        let mut record = self.record();
        let window = FaultWindow { kind: kind.to_owned(), targets, from: self.now(), to: None };
        record.faults.push(window);
        Window(record.faults.len() - 1)
    }

    /// It is over.
    pub(crate) fn end(&self, window: Window) {
        let mut record = self.record();
        let now = self.now();
        if let Some(fault) = record.faults.get_mut(window.0) {
            fault.to = Some(now);
        }
    }

    /// How it goes.
    pub(crate) fn glance(&self) -> Glance {
        let record = self.record();
        let open = record.faults.iter().filter(|fault| fault.to.is_none());
        let faults = open.map(|fault| format!("{} {}", fault.kind, fault.targets.join(","))).collect();
        Glance { faults, ..record.glance.clone() }
    }

    /// All of it.
    pub(crate) fn take(&self) -> (Vec<Event>, Vec<FaultWindow>) {
        let mut record = self.record();
        (std::mem::take(&mut record.events), std::mem::take(&mut record.faults))
    }

    /// The calls and returns so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.record().events.clone()
    }
}
