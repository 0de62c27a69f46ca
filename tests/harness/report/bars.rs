//! A run's operations as they are drawn: from a call to its return.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::run::{Event, EventKind};

/// An operation of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bar<'a> {
    /// The place of its call among the events, by which findings name it.
    pub(super) nth: usize,
    /// The place of its return.
    pub(super) returned: Option<usize>,
    pub(super) call: &'a Event,
    pub(super) end: Option<&'a Event>,
}

/// What an operation came to. One without a return came to what an `info` says: nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    Ok,
    Fail,
    Info,
}

impl Ended {
    pub(super) const ALL: [Ended; 3] = [Ended::Ok, Ended::Fail, Ended::Info];

    pub(super) fn name(self) -> &'static str {
        ["ok", "fail", "info"][self as usize]
    }
}

/// The operations of a run in the order of their calls. A return without a call is passed over.
pub(super) fn bars(events: &[Event]) -> Vec<Bar<'_>> {
    let mut bars: Vec<Bar<'_>> = Vec::new();
    let mut pending: BTreeMap<u64, usize> = BTreeMap::new();
    for (nth, event) in events.iter().enumerate() {
        if event.kind == EventKind::Invoke {
            pending.insert(event.process, bars.len());
            bars.push(Bar { nth, returned: None, call: event, end: None });
        } else if let Some(at) = pending.remove(&event.process) {
            (bars[at].returned, bars[at].end) = (Some(nth), Some(event));
        }
    }
    bars
}

impl Bar<'_> {
    pub(super) fn ended(&self) -> Ended {
        match self.end.map(|end| end.kind) {
            Some(EventKind::Ok) => Ended::Ok,
            Some(EventKind::Fail) => Ended::Fail,
            _ => Ended::Info,
        }
    }

    /// How long it took, if it returned.
    pub(super) fn latency(&self) -> Option<Duration> {
        Some(self.end?.time.saturating_sub(self.call.time))
    }

    /// The node that was asked, whichever of the two events says so.
    pub(super) fn node(&self) -> Option<&str> {
        self.call.node.as_deref().or(self.end?.node.as_deref())
    }

    /// What was asked, in a few words: `write 3`.
    pub(super) fn asked(&self) -> String {
        match &self.call.value {
            Value::Null => self.call.f.clone(),
            value => format!("{} {}", self.call.f, short(value)),
        }
    }

    /// What came of it, in a few words; nothing if a success says no more than that.
    pub(super) fn answered(&self) -> String {
        let error = |end: &Event| end.error.as_ref().map_or_else(|| "failed".to_owned(), short);
        match (self.ended(), self.end) {
            (Ended::Ok, Some(end)) if end.value != self.call.value => short(&end.value),
            // What was asked is null too: a read that found nothing.
            (Ended::Ok, Some(end)) if end.value.is_null() && self.call.f.starts_with(['r', 'g']) => short(&end.value),
            (Ended::Ok, _) => String::new(),
            (Ended::Fail, Some(end)) => error(end),
            _ => "?".to_owned(),
        }
    }
}

/// A value in little room: strings without quotes, lists without brackets around them, long ones cut.
pub(super) fn short(value: &Value) -> String {
    const MOST: usize = 28;
    let text = match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(short).collect::<Vec<_>>().join(" "),
        value => value.to_string(),
    };
    match text.char_indices().nth(MOST) {
        // The end of a string that is appended to says more than its beginning.
        Some(_) => "…".to_owned() + &text.chars().skip(text.chars().count() - MOST).collect::<String>(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operation_says_what_was_asked_and_what_came_of_it() {
        let event = |kind, f: &str, value| Event {
            process: 1,
            kind,
            f: f.into(),
            key: Value::Null,
            value,
            time: Duration::ZERO,
            error: (kind == EventKind::Fail).then(|| json!("no leader")),
            node: None,
        };
        let table = [
            ("write", json!(3), Some((EventKind::Ok, json!(3))), "write 3", ""),
            ("read", json!(null), Some((EventKind::Ok, json!(3))), "read", "3"),
            ("read", json!(null), Some((EventKind::Ok, json!(null))), "read", "null"),
            ("cas", json!([1, "a"]), Some((EventKind::Fail, json!(null))), "cas 1 a", "no leader"),
            ("append", json!("é".repeat(40)), None, &format!("append …{}", "é".repeat(28)), "?"),
        ];
        for (f, asked, end, expected, answered) in table {
            let mut events = vec![event(EventKind::Invoke, f, asked)];
            events.extend(end.map(|(kind, value)| event(kind, f, value)));
            let bars = bars(&events);
            assert_eq!((bars[0].asked().as_str(), bars[0].answered().as_str()), (expected, answered));
        }
    }
}
