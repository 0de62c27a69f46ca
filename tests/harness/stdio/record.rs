//! What has happened in a run so far.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errors::Return;
use super::network::Network;
use super::workload::{Call, Caller, Deed};
use crate::run::{Event, EventKind, FaultWindow};

/// A record in the making, timed by the network's clock. Clones are the same one.
#[derive(Clone)]
pub struct Record(Arc<Shared>);

struct Shared {
    network: Network,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: Vec<Event>,
    faults: Vec<FaultWindow>,
    tally: Tally,
    phase: &'static str,
}

/// How many operations ended in which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Well.
    pub ok: u64,
    /// Not at all.
    pub fail: u64,
    /// In a way that nobody knows.
    pub info: u64,
}

/// A glance at a run that is under way.
#[derive(Clone, Debug)]
pub struct Glance {
    /// What it is doing.
    pub phase: &'static str,
    /// How its operations ended.
    pub tally: Tally,
    /// What is wrong with the nodes at the moment.
    pub faults: Vec<String>,
}

/// A fault that has begun.
pub struct OpenFault(usize);

impl Record {
    /// An empty one.
    pub fn new(network: &Network) -> Record {
        Record(Arc::new(Shared { network: network.clone(), state: Mutex::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since the run began.
    pub fn now(&self) -> Duration {
        self.0.network.now()
    }

    /// Says what the run is doing.
    pub fn enter(&self, phase: &'static str) {
        self.state().phase = phase;
    }

    /// A caller is about to call something.
    pub fn invoke(&self, caller: &Caller, call: &Call) {
        self.add(caller, call, EventKind::Invoke, call.value.clone(), None);
    }

    /// Its call has ended.
    pub fn complete(&self, caller: &Caller, call: &Call, end: Return) {
        self.add(caller, call, end.kind, end.value, end.error);
    }

    fn add(
        &self,
        caller: &Caller,
        call: &Call,
        kind: EventKind,
        value: serde_json::Value,
        error: Option<serde_json::Value>,
    ) {
        let mut state = self.state();
        // The clock is read under the lock, so that times are in the order of events.
        let time = self.now();
        match kind {
            EventKind::Invoke => {}
            EventKind::Ok => state.tally.ok += 1,
            EventKind::Fail => state.tally.fail += 1,
            EventKind::Info => state.tally.info += 1,
        }
        let (f, key, node) = (call.f.clone(), call.key.clone(), Some(caller.node.clone()));
        state.events.push(Event { process: caller.process, kind, f, key, value, time, error, node });
    }

    /// Something is wrong with the nodes from now on.
    pub fn begin_fault(&self, kind: &str, targets: Vec<String>) -> OpenFault {
        let mut state = self.state();
        state.faults.push(FaultWindow { kind: kind.to_owned(), targets, from: self.now(), to: None });
        OpenFault(state.faults.len() - 1)
    }

    /// It is mended. A fault that is dropped instead never was.
    pub fn end_fault(&self, fault: OpenFault) {
        let now = self.now();
        if let Some(fault) = self.state().faults.get_mut(fault.0) {
            fault.to = Some(now);
        }
    }

    /// An operator has done something between a moment and now.
    pub fn deed(&self, deed: Deed, from: Duration) {
        let Deed { kind, targets } = deed;
        let now = self.now();
        self.state().faults.push(FaultWindow { kind, targets, from, to: Some(now) });
    }

    /// Calls and returns so far.
    pub fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    /// Faults so far.
    pub fn faults(&self) -> Vec<FaultWindow> {
        self.state().faults.clone()
    }

    /// How it goes.
    pub fn glance(&self) -> Glance {
        let state = self.state();
        let open = state.faults.iter().filter(|fault| fault.to.is_none());
        let faults = open.map(|fault| format!("{} {}", fault.kind, fault.targets.join(","))).collect();
        Glance { phase: state.phase, tally: state.tally, faults }
    }
}
