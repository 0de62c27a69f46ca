//! Reads that say how old their answers may be, and answers that say how old they are: never older than that.
//!
//! Half of the workers write, each to a key of its own, one number higher each time; so whatever was acknowledged before
//! the moment that an answer claims to show is a lower bound for it. Answers that claim to be linearizable are judged as
//! such, too.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, IteratorRandom};
use serde_json::{Value, json};

use crate::checker::register::{Register, RegisterAnswer, RegisterOp};
use crate::checker::staleness::Oracle;
use crate::checker::{Keyed, Limits, Operation, Outcome, Position, Verdict, check};
use crate::findings::{Answer, Check};
use crate::run::{EventKind, Pair, Run};
use crate::stdio::client::Client;
use crate::stdio::errors::Return;
use crate::stdio::workload::{Call, Caller, Next, Phase, Workload};

/// How old an answer may be, in milliseconds; `None` asks the node for a read index.
const BOUNDS_MS: [Option<u64>; 6] = [Some(0), Some(5), Some(50), Some(500), Some(5_000), None];

/// `write` (`key`, `value`), `follower_read` (`key`, `max_staleness_ms`, `index`).
#[derive(Debug, Default)]
pub struct FollowerReads {
    /// The keys that are written at the moment, by worker. A worker whose last write is of unknown outcome takes another
    /// key: that write may come at any later time.
    keys: Mutex<BTreeMap<usize, String>>,
}

#[async_trait]
impl Workload for FollowerReads {
    fn name(&self) -> &'static str {
        "follower-reads"
    }

    fn workers(&self, nodes: usize) -> usize {
        4 * nodes
    }

    fn fits(&self, _nodes: usize, workers: usize) -> Result<(), String> {
        if workers < 2 {
            Err("follower-reads has writers and readers: two workers at least".to_owned())
        } else {
            Ok(())
        }
    }

    fn next(&self, _phase: Phase, caller: &Caller, random: &mut SmallRng) -> Next {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if caller.worker.is_multiple_of(2) {
            let key = format!("w{}", caller.process);
            keys.insert(caller.worker, key.clone());
            return Next::Call(Call::new("write", key, caller.nth + 1));
        }
        let bound = BOUNDS_MS.choose(random).copied().flatten();
        match keys.values().choose(random) {
            Some(key) => Next::Call(Call::new("follower-read", key.as_str(), bound)),
            None => Next::Wait,
        }
    }

    async fn call(&self, client: &mut Client, caller: &Caller, call: &Call) -> Return {
        let Call { f, key, value } = call;
        if f == "write" {
            return match client.ask(&caller.node, "write", json!({ "key": key, "value": value })).await {
                Ok(_) => Return::ok(value.clone()),
                Err(refusal) => Return::refused(value.clone(), &refusal),
            };
        }
        let fields = json!({ "key": key, "max_staleness_ms": value.as_u64().unwrap_or(0), "index": value.is_null() });
        match client.ask(&caller.node, "follower_read", fields).await {
            Ok(body) => Return::ok(json!({
                "value": body.get("value"),
                "actual-staleness-ms": body.get("actual_staleness_ms"),
                "served-by": body.get("served_by"),
                "linearizable": body.get("linearizable"),
            })),
            Err(refusal) => Return::unread(Value::Null, &refusal),
        }
    }

    fn judge(&self, run: &Run) -> Vec<Check> {
        let pairs = Pair::all(&run.events);
        let mut oracle = Oracle::default();
        let mut writes: BTreeMap<&str, Vec<&Pair<'_>>> = BTreeMap::new();
        for pair in pairs.iter().filter(|pair| pair.call.f == "write") {
            let key = pair.call.key.as_str().unwrap_or_default();
            if let (Some(_), Some(end)) = (pair.answer(), pair.end) {
                oracle.acknowledged(key, pair.call.value.as_u64().unwrap_or_default(), end.time);
            }
            writes.entry(key).or_default().push(pair);
        }
        let (mut wrong, mut reads, mut stale) = (Vec::new(), 0, 0);
        for pair in pairs.iter().filter(|pair| pair.call.f == "follower-read") {
            let Some(answer) = pair.answer() else { continue };
            let writes = writes.get(pair.call.key.as_str().unwrap_or_default()).map_or(&[][..], Vec::as_slice);
            if let Err(why) = judge_answer(pair, answer, &oracle, writes) {
                let node = pair.call.node.as_deref().unwrap_or_default();
                wrong.push(format!("{node} answered {answer} for {} within {}: {why}", pair.call.key, pair.call.value));
            }
            reads += 1;
            stale += u64::from(answer["linearizable"] == false);
        }
        let good = format!("no answer is older than it says: {reads} reads, {stale} of them by followers at an age");
        vec![Check::of_wrongs("bounded staleness", wrong, good), linearizable(run)]
    }
}

/// Judges an answer, given what was acknowledged and all writes to its key.
fn judge_answer(pair: &Pair<'_>, answer: &Value, oracle: &Oracle, writes: &[&Pair<'_>]) -> Result<(), String> {
    let (call, Some(end)) = (pair.call, pair.end) else { return Ok(()) };
    let is_linearizable = answer["linearizable"] == true;
    let age_ms = if is_linearizable { Some(0) } else { answer["actual-staleness-ms"].as_u64() };
    let Some(age_ms) = age_ms else { return Err("it does not say how old it is".to_owned()) };
    match call.value.as_u64() {
        Some(0) | None if !is_linearizable => return Err("it should be linearizable".to_owned()),
        Some(bound) if age_ms > bound => return Err("it is too old".to_owned()),
        _ => {}
    }
    let (key, value) = (call.key.as_str().unwrap_or_default(), answer["value"].as_u64().unwrap_or(0));
    let judged = oracle.judge(key, value, call.time, Duration::from_millis(age_ms));
    judged.map_err(|too_old| too_old.to_string())?;
    let is_it = |write: &&&Pair<'_>| write.call.value == value && write.call.time <= end.time && !write.has_failed();
    match value == 0 || writes.iter().any(|write| is_it(&write)) {
        true => Ok(()),
        false => Err("nobody has written that by then".to_owned()),
    }
}

/// Whether the writes and the reads that claim to be linearizable are.
fn linearizable(run: &Run) -> Check {
    let mut operations = Vec::new();
    let mut open = BTreeMap::new();
    for (nth, event) in run.events.iter().enumerate() {
        let position = Position(nth as u64);
        if event.kind == EventKind::Invoke {
            let op = match event.f.as_str() {
                "write" => RegisterOp::Write(event.value.as_u64().unwrap_or_default()),
                _ => RegisterOp::Read,
            };
            let input = Keyed::new(event.key.to_string(), op);
            open.insert(event.process, operations.len());
            operations.push(Operation { process: event.process, input, called: position, outcome: Outcome::Open });
        } else if let Some(called) = open.remove(&event.process) {
            operations[called].outcome = match (event.kind, event.f.as_str()) {
                (EventKind::Ok, "write") => Outcome::Returned { output: RegisterAnswer::Done, at: position },
                (EventKind::Ok, _) if event.value["linearizable"] == true => {
                    Outcome::Returned { output: RegisterAnswer::Value(event.value["value"].as_u64()), at: position }
                }
                (EventKind::Info, "write") => Outcome::Open,
                _ => Outcome::Failed,
            };
        }
    }
    let (answer, reason) = match check(&Register::empty(), &operations, Limits::default()) {
        Verdict::Linearizable => (Answer::True, "answers that claim to be linearizable are".to_owned()),
        Verdict::Unknown(limit) => (Answer::Unknown, format!("{limit} before the search ended")),
        Verdict::NotLinearizable(found) => (Answer::False, found.describe(&operations)),
    };
    Check::new("linearizability", answer, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Event;

    fn event(process: u64, kind: EventKind, f: &str, value: Value, time_ms: u64) -> Event {
        let time = Duration::from_millis(time_ms);
        let (f, key) = (f.to_owned(), json!("w0"));
        Event { process, kind, f, key, value, time, error: None, node: Some("n1".to_owned()) }
    }

    /// Writes 1 to 3, acknowledged at 10, 20 and 30 ms; then a read from 100 to 110 ms.
    fn is_good(bound: Value, value: u64, age_ms: u64, linearizable: bool) -> bool {
        let mut events = Vec::new();
        for nth in 1..=3 {
            events.push(event(0, EventKind::Invoke, "write", json!(nth), nth * 10 - 5));
            events.push(event(0, EventKind::Ok, "write", json!(nth), nth * 10));
        }
        let answer = json!({ "value": value, "actual-staleness-ms": age_ms, "linearizable": linearizable });
        events.push(event(1, EventKind::Invoke, "follower-read", bound, 100));
        events.push(event(1, EventKind::Ok, "follower-read", answer, 110));
        let run = Run {
            workload: String::new(),
            started: std::time::SystemTime::UNIX_EPOCH,
            length: Duration::from_millis(110),
            settings: Value::Null,
            events,
            faults: Vec::new(),
            messages: Vec::new(),
        };
        FollowerReads::default().judge(&run).iter().all(|check| check.answer == Answer::True)
    }

    #[test]
    fn an_answer_shows_what_was_acknowledged_before_the_moment_that_it_claims() {
        let table = [
            (json!(500), 3, 0, false, true),
            (json!(500), 2, 75, false, true),
            (json!(500), 2, 70, false, false),
            (json!(500), 1, 80, false, false),
            (json!(500), 1, 85, false, true),
            (json!(50), 2, 75, false, false),
            (json!(0), 3, 0, true, true),
            (json!(0), 3, 0, false, false),
            (json!(0), 2, 0, true, false),
            (json!(null), 3, 5, false, false),
            (json!(500), 7, 5, false, false),
        ];
        for (bound, value, age_ms, linearizable, good) in table {
            let case = format!("{value} at {age_ms} ms within {bound}, linearizable {linearizable}");
            assert_eq!(is_good(bound, value, age_ms, linearizable), good, "{case}");
        }
    }
}
