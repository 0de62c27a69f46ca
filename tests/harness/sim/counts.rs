//! What is counted and kept of a run while it goes on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::NodeId;
use quorate::transport::{Envelope, RequestKind};
use serde_json::Value;

use super::trace::Trace;
use crate::run::{Event, EventKind, FaultWindow, Message, MessageFate};

/// How much happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations that took effect.
    pub ok: u64,
    /// Operations that did not.
    pub failed: u64,
    /// Operations of which nobody knows.
    pub unknown: u64,
    /// Messages that nodes sent.
    pub messages: u64,
    /// Faults that took effect, by name.
    pub faults: BTreeMap<String, u64>,
    /// Violations are only sought where something happened: how often each property was looked at.
    pub checks: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Counts) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.messages += other.messages;
        for (name, count) in &other.faults {
            *self.faults.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &other.checks {
            *self.checks.entry(name).or_default() += count;
        }
    }

    /// All operations.
    pub fn operations(&self) -> u64 {
        self.ok + self.failed + self.unknown
    }
}

/// What a run's report is made of. Clones are the same.
#[derive(Clone)]
pub(super) struct Tally(Arc<Shared>);

struct Shared {
    trace: Trace,
    /// Messages are kept only for a report.
    keep_messages: bool,
    kept: Mutex<Kept>,
}

#[derive(Default)]
pub(super) struct Kept {
    pub(super) counts: Counts,
    pub(super) events: Vec<Event>,
    pub(super) faults: Vec<FaultWindow>,
    pub(super) messages: Vec<Message>,
}

impl Tally {
    pub(super) fn new(trace: Trace, keep_messages: bool) -> Self {
        Tally(Arc::new(Shared { trace, keep_messages, kept: Mutex::default() }))
    }

    pub(super) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn message(&self, fate: MessageFate, envelope: &Envelope, to: NodeId) {
        let mut kept = self.kept();
        kept.counts.messages += u64::from(fate == MessageFate::Sent);
        if self.0.keep_messages {
            kept.messages.push(Message {
                // Unique in the sender's life; a person looks at one at a time.
                id: envelope.from.0 << 48 | (envelope.incarnation.0 & 0xffff) << 32 | envelope.id & 0xffff_ffff,
                fate,
                time: self.0.trace.now(),
                src: envelope.from.to_string(),
                dest: to.to_string(),
                says: format!("{:?}", RequestKind::of(&envelope.request)).to_lowercase(),
            });
        }
    }

    /// A fault begins. Gives its place, for [`Self::fault_ends`].
    pub(super) fn fault_begins(&self, kind: &str, targets: &[NodeId]) -> usize {
        let mut kept = self.kept();
        *kept.counts.faults.entry(kind.to_owned()).or_default() += 1;
        let targets = targets.iter().map(NodeId::to_string).collect();
        kept.faults.push(FaultWindow { kind: kind.to_owned(), targets, from: self.0.trace.now(), to: None });
        kept.faults.len() - 1
    }

    pub(super) fn fault_ends(&self, nth: usize) {
        let now = self.0.trace.now();
        if let Some(window) = self.kept().faults.get_mut(nth) {
            window.to.get_or_insert(now);
        }
    }

    pub(super) fn event(&self, call: &Called, kind: EventKind, value: Value, error: Option<String>) {
        let Called { process, f, key, node } = call;
        match &error {
            Some(error) => {
                self.0.trace.note(None, format_args!("client {process} {kind:?} {f} {key} {value} {error}"));
            }
            None => self.0.trace.note(None, format_args!("client {process} {kind:?} {f} {key} {value}")),
        }
        let time = self.0.trace.now();
        let mut kept = self.kept();
        match kind {
            EventKind::Invoke => {}
            EventKind::Ok => kept.counts.ok += 1,
            EventKind::Fail => kept.counts.failed += 1,
            EventKind::Info => kept.counts.unknown += 1,
        }
        kept.events.push(Event {
            process: *process,
            kind,
            f: f.clone(),
            key: key.clone(),
            value,
            time,
            error: error.map(Value::from),
            node: node.map(|node| node.to_string()),
        });
    }

    pub(super) fn checked(&self, property: &'static str) {
        *self.kept().counts.checks.entry(property).or_default() += 1;
    }
}

/// What is the same of a call and its return.
pub(super) struct Called {
    pub(super) process: u64,
    pub(super) f: String,
    pub(super) key: Value,
    pub(super) node: Option<NodeId>,
}
