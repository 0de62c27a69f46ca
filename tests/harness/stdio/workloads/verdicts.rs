//! Verdicts that several workloads give.

use serde_json::{Value, json};

use crate::checker::Limits;
use crate::checker::json::{JsonRegister, Operations};
use crate::findings::{Answer, Check};
use crate::run::{Event, Run};

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
