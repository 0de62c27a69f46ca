//! What a driver records of one run, whatever it drove: the clients' calls and returns, what was done to the nodes, and
//! what was said between them. Checkers judge it, reports draw it.
//!
//! Promises: times count from the start of the run, on one clock; a list is in the order in which things happened, also
//! where times are equal.
//! Leaves out: what the operations mean, which is the workload's.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One run of one workload.
#[derive(Clone, Debug)]
pub struct Run {
    /// The workload's name: `lin-kv`, say. A part of a path.
    pub workload: String,
    /// When it began.
    pub started: SystemTime,
    /// How long it took, until the last client was done.
    pub length: Duration,
    /// What the run was told: the seed, the nodes, the rate, whatever lets a person repeat it.
    pub settings: Value,
    /// Calls and returns.
    pub events: Vec<Event>,
    /// What was done to the nodes.
    pub faults: Vec<FaultWindow>,
    /// What was said; empty where nobody listened.
    pub messages: Vec<Message>,
}

/// A call of a client, or its return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The logical client. One process calls one operation at a time, and none after an `info`.
    pub process: u64,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The operation's name: `read`, say.
    pub f: String,
    /// The object that it concerns; null where there is only one.
    pub key: Value,
    /// The argument of a call, the answer of a return.
    pub value: Value,
    /// When.
    #[serde(with = "nanoseconds")]
    pub time: Duration,
    /// Why it failed, or why nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The node that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// What a call came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// The call.
    Invoke,
    /// It took effect, and this is what it answers.
    Ok,
    /// It did not happen, and never will.
    Fail,
    /// Nobody knows: it may happen at any later time, or never.
    Info,
}

/// A call and its return.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The call.
    pub call: &'a Event,
    /// The return, if there was one.
    pub end: Option<&'a Event>,
    /// The places of both among the events; `usize::MAX` for a return that never came.
    pub at: (usize, usize),
}

impl<'a> Pair<'a> {
    /// Calls with their returns, in the order of the calls.
    pub fn all(events: &'a [Event]) -> Vec<Pair<'a>> {
        let mut pairs: Vec<Pair<'a>> = Vec::new();
        let mut open = BTreeMap::new();
        for (nth, event) in events.iter().enumerate() {
            if event.kind == EventKind::Invoke {
                open.insert(event.process, pairs.len());
                pairs.push(Pair { call: event, end: None, at: (nth, usize::MAX) });
            } else if let Some(pair) = open.remove(&event.process).and_then(|at| pairs.get_mut(at)) {
                (pair.end, pair.at.1) = (Some(event), nth);
            }
        }
        pairs
    }

    /// What it answered, if it ended well.
    pub fn answer(&self) -> Option<&'a Value> {
        self.end.filter(|end| end.kind == EventKind::Ok).map(|end| &end.value)
    }

    /// Whether it is known never to happen.
    pub fn has_failed(&self) -> bool {
        self.end.is_some_and(|end| end.kind == EventKind::Fail)
    }
}

/// Something that was wrong with the nodes for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultWindow {
    /// What: `partition`, `kill`, `pause`, say.
    pub kind: String,
    /// The nodes that it befell; empty for all.
    pub targets: Vec<String>,
    /// From when on.
    #[serde(with = "nanoseconds")]
    pub from: Duration,
    /// Until when; `None` when it never ended.
    #[serde(default, with = "nanoseconds_or_never")]
    pub to: Option<Duration>,
}

/// Something that a node or a client said to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The same for all that happens to one message.
    pub id: u64,
    /// Whether it was sent, arrived, or was lost.
    pub fate: MessageFate,
    /// When.
    #[serde(with = "nanoseconds")]
    pub time: Duration,
    /// Who says it.
    pub src: String,
    /// To whom.
    pub dest: String,
    /// What it says, in a word or two.
    pub says: String,
}

/// What happens to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageFate {
    /// It left.
    Sent,
    /// It arrived.
    Received,
    /// It will not arrive.
    Lost,
}

mod nanoseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

mod nanoseconds_or_never {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line_of_a_history() {
        let line = json!({ "process": 3, "type": "info", "f": "write", "key": 0, "value": 4, "time": 1_500, "error": "timeout" });
        let event: Event = serde_json::from_value(line.clone()).unwrap();
        assert_eq!((event.kind, event.time), (EventKind::Info, Duration::from_nanos(1_500)));
        assert_eq!(serde_json::to_value(&event).unwrap(), line);
    }

    #[test]
    fn a_call_goes_with_the_next_return_of_its_process() {
        let event = |process, kind, value| Event {
            process,
            kind,
            f: "read".into(),
            key: Value::Null,
            value: json!(value),
            time: Duration::ZERO,
            error: None,
            node: None,
        };
        use EventKind::{Fail, Invoke, Ok};
        let events =
            [event(1, Invoke, 0), event(2, Invoke, 0), event(2, Ok, 5), event(1, Fail, 0), event(1, Invoke, 0)];
        let pairs = Pair::all(&events);
        let at: Vec<_> = pairs.iter().map(|pair| pair.at).collect();
        assert_eq!(at, [(0, 3), (1, 2), (4, usize::MAX)]);
        assert_eq!(pairs[1].answer(), Some(&json!(5)));
        assert_eq!(pairs.iter().map(Pair::has_failed).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn a_fault_that_never_ends_says_so() {
        let window =
            FaultWindow { kind: "kill".into(), targets: vec!["n1".into()], from: Duration::from_secs(1), to: None };
        let text = serde_json::to_value(&window).unwrap();
        assert_eq!(text, json!({ "kind": "kill", "targets": ["n1"], "from": 1_000_000_000, "to": null }));
        assert_eq!(serde_json::from_value::<FaultWindow>(text).unwrap(), window);
    }
}
