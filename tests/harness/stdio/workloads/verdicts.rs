//! Verdicts that several workloads give.

use serde_json::{Value, json};

use crate::checker::json::{JsonAnswer, JsonOp, JsonRegister, Operations};
use crate::checker::{Counterexample, Keyed, Limits, Operation, Outcome, Verdict, check, jsonl};
use crate::run::{Event, EventKind, Run};
use crate::stdio::workload::{Judgement, Valid};

/// Whether registers were linearizable, each by itself. Other operations than theirs are no business of this.
pub(super) fn registers(run: &Run) -> Judgement {
    let model = JsonRegister { initial: Value::Null, operations: Operations::Register };
    linearizable(&model, run, &["read", "write", "cas"])
}

/// Whether strings that start empty were linearizable.
pub(super) fn strings(run: &Run) -> Judgement {
    let model = JsonRegister { initial: json!(""), operations: Operations::Strings };
    linearizable(&model, run, &["get", "put", "append"])
}

fn linearizable(model: &JsonRegister, run: &Run, names: &[&str]) -> Judgement {
    let events: Vec<Event> = run.events.iter().filter(|event| names.contains(&event.f.as_str())).cloned().collect();
    let history = match jsonl::operations(model, &events) {
        Ok(history) => history,
        Err(malformed) => {
            return Judgement::new(false, format!("an answer makes no sense: {malformed}"));
        }
    };
    let keys: std::collections::BTreeSet<_> = history.iter().map(|operation| &operation.input.key).collect();
    match check(model, &history, Limits::default()) {
        Verdict::Linearizable => {
            Judgement::new(true, format!("linearizable: {} operations on {} keys", history.len(), keys.len()))
        }
        Verdict::Unknown(limit) => Judgement::new(Valid::Unknown, format!("{limit} before the search ended")),
        Verdict::NotLinearizable(found) => {
            let reason = format!(
                "not linearizable: key {}: {} fits no order of the operations before it",
                found.key,
                tell(&history[found.stuck])
            );
            Judgement::new(false, reason).with(details(&found, &history))
        }
    }
}

fn tell(operation: &Operation<Keyed<JsonOp>, JsonAnswer>) -> String {
    let answer = match &operation.outcome {
        Outcome::Returned { output, .. } => output.to_string(),
        Outcome::Failed => "failed".to_owned(),
        Outcome::Open => "never known".to_owned(),
    };
    format!("process {} {} -> {answer}", operation.process, operation.input.op)
}

/// The end of the longest order, and what has no place in it.
fn details(found: &Counterexample, history: &[Operation<Keyed<JsonOp>, JsonAnswer>]) -> Value {
    const SHOWN: usize = 40;
    let tell_all = |places: &[usize]| places.iter().map(|nth| tell(&history[*nth])).collect::<Vec<_>>();
    json!({
        "key": found.key,
        "order": found.longest.len(),
        "order-ends": tell_all(&found.longest[found.longest.len().saturating_sub(SHOWN)..]),
        "stuck": tell(&history[found.stuck]),
        "unplaced": tell_all(&found.unplaced),
    })
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
