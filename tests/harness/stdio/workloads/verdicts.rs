//! Verdicts that several workloads give.

use serde_json::{Value, json};

use crate::checker::Limits;
use crate::checker::json::{JsonRegister, Operations};
use crate::findings::{Answer, Check};
use crate::run::{Event, EventKind, Run};

/// So many things that are wrong are told to a person; programs are told all.
const SHOWN: usize = 5;

/// Good if there are no `wrongs`, which are the reasons otherwise.
pub(super) fn found(name: &str, wrongs: Vec<String>, good: String) -> Check {
    if wrongs.is_empty() {
        return Check::new(name, Answer::True, good);
    }
    let more = if wrongs.len() > SHOWN { format!("; and {} more", wrongs.len() - SHOWN) } else { String::new() };
    let reason = wrongs.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ") + &more;
    Check { details: wrongs.into(), ..Check::new(name, Answer::False, reason) }
}

/// Whether registers were linearizable, each by itself. Other operations than theirs are no business of this.
pub(super) fn registers(run: &Run) -> Check {
    let model = JsonRegister { initial: Value::Null, operations: Operations::Register };
    linearizable(&model, run, &["read", "write", "cas"])
}

/// Whether strings that start empty were linearizable.
pub(super) fn strings(run: &Run) -> Check {
    let model = JsonRegister { initial: json!(""), operations: Operations::Strings };
    linearizable(&model, run, &["get", "read", "put", "append"])
}

fn linearizable(model: &JsonRegister, run: &Run, names: &[&str]) -> Check {
    let is_meant = |(_, event): &(usize, &Event)| names.contains(&event.f.as_str());
    let meant: Vec<(usize, &Event)> = run.events.iter().enumerate().filter(is_meant).collect();
    let events: Vec<Event> = meant.iter().map(|(_, event)| (*event).clone()).collect();
    let mut check = match Check::linearizability(model, &events, Limits::default()) {
        Ok(check) => check,
        Err(malformed) => {
            let reason = format!("an answer makes no sense: {}", malformed.why);
            return Check::new("linearizability", Answer::False, reason);
        }
    };
    // A report knows a call by its place among all events.
    if let Some(anomaly) = &mut check.anomaly {
        let calls = anomaly.orders.iter_mut().flat_map(|order| &mut order.calls);
        calls.chain(&mut anomaly.unplaced).for_each(|call| *call = meant[*call].0);
    }
    check
}

/// A call and its return, or no return.
pub(super) struct Pair<'a> {
    pub(super) call: &'a Event,
    pub(super) end: Option<&'a Event>,
}

impl Pair<'_> {
    /// What it answered, if it ended well.
    pub(super) fn answer(&self) -> Option<&Value> {
        self.end.filter(|end| end.kind == EventKind::Ok).map(|end| &end.value)
    }

    /// Whether it is known never to happen.
    pub(super) fn has_failed(&self) -> bool {
        self.end.is_some_and(|end| end.kind == EventKind::Fail)
    }
}

/// Calls with their returns, in the order of the calls.
pub(super) fn pairs(run: &Run) -> Vec<Pair<'_>> {
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    let mut open = std::collections::BTreeMap::new();
    for event in &run.events {
        if event.kind == EventKind::Invoke {
            open.insert(event.process, pairs.len());
            pairs.push(Pair { call: event, end: None });
        } else if let Some(nth) = open.remove(&event.process) {
            pairs[nth].end = Some(event);
        }
    }
    pairs
}
