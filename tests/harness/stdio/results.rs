//! What came of a run, as Maelstrom counts it: the workload's verdict, operations, availability, messages.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;
use serde_json::{Value, json};

use super::network::{Counts, Traffic};
use super::runner::Finished;
use super::workload::Workload;
use crate::findings::{Answer, Check, Findings};
use crate::run::{Event, EventKind};

/// The part of operations that must have ended well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Availability {
    /// All of them.
    Total,
    /// At least this part, from 0 to 1.
    AtLeast(f64),
}

impl FromStr for Availability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "total" {
            return Ok(Availability::Total);
        }
        match text.parse() {
            Ok(part) if (0.0..=1.0).contains(&part) => Ok(Availability::AtLeast(part)),
            _ => Err("neither \"total\" nor a number from 0 to 1".to_owned()),
        }
    }
}

/// Operations, counted by their ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ends {
    /// All that have ended.
    pub count: u64,
    /// Well.
    pub ok_count: u64,
    /// Not at all.
    pub fail_count: u64,
    /// In a way that nobody knows.
    pub info_count: u64,
}

impl Ends {
    /// Those of these events.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Ends {
        let mut ends = Ends::default();
        for event in events {
            match event.kind {
                EventKind::Invoke => continue,
                EventKind::Ok => ends.ok_count += 1,
                EventKind::Fail => ends.fail_count += 1,
                EventKind::Info => ends.info_count += 1,
            }
            ends.count += 1;
        }
        ends
    }
}

/// Judges a run: by its workload, by what every run is judged by, and by the availability that is wanted. A run that ended
/// before its time is judged as far as it went, and never found good.
pub fn findings(finished: &Finished, workload: &dyn Workload, wanted: Option<Availability>) -> Findings {
    let events = &finished.run.events;
    let mut checks = workload.judge(&finished.run);
    checks.extend([stats(events), availability(Ends::of(events), wanted), net(&finished.traffic, events)]);
    checks.push(match &finished.trouble {
        None => Check::new("nodes", Answer::True, "none has ended by itself"),
        Some(trouble) => Check::new("nodes", Answer::Unknown, trouble.to_string()),
    });
    if let (Some(nodes), false) = (checks.last_mut(), finished.warnings.is_empty()) {
        nodes.details = json!({ "warnings": finished.warnings });
    }
    Findings { checks }
}

/// Not good if there is a kind of operation of which none ended well.
fn stats(events: &[Event]) -> Check {
    let mut by_f: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        by_f.entry(&event.f).or_default().push(event);
    }
    let by_f: BTreeMap<&str, Ends> =
        by_f.into_iter().map(|(f, events)| (f, Ends::of(events))).filter(|(_, ends)| ends.count > 0).collect();
    let never: Vec<&str> = by_f.iter().filter(|(_, ends)| ends.ok_count == 0).map(|(f, _)| *f).collect();
    let check = match never.is_empty() {
        true => Check::new("stats", Answer::True, "every kind of operation has ended well"),
        false => Check::new("stats", Answer::False, format!("no {} has ended well", never.join(", no "))),
    };
    let mut details = json!(Ends::of(events));
    details["by-f"] = json!(by_f);
    Check { details, ..check }
}

fn availability(all: Ends, wanted: Option<Availability>) -> Check {
    let part = (all.count > 0).then(|| all.ok_count as f64 / all.count as f64);
    let is_enough = match wanted {
        None => true,
        Some(Availability::Total) => all.ok_count == all.count,
        Some(Availability::AtLeast(wanted)) => part.unwrap_or_default() >= wanted,
    };
    let answer = if is_enough { Answer::True } else { Answer::False };
    let reason = format!("{} of {} operations have ended well", all.ok_count, all.count);
    Check { details: json!({ "ok-fraction": part }), ..Check::new("availability", answer, reason) }
}

fn net(traffic: &Traffic, events: &[Event]) -> Check {
    let invoked = events.iter().filter(|event| event.kind == EventKind::Invoke).count();
    let per_operation = |counts: Counts| {
        let mut text = json!(counts);
        text["msgs-per-op"] = if invoked > 0 { json!(counts.msg_count as f64 / invoked as f64) } else { Value::Null };
        text
    };
    let details = json!({
        "all": per_operation(traffic.all),
        "clients": traffic.clients,
        "servers": per_operation(traffic.servers),
    });
    let reason = format!("{} messages, {} of them between nodes", traffic.all.msg_count, traffic.servers.msg_count);
    Check { details, ..Check::new("net", Answer::True, reason) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(f: &str, kind: EventKind) -> Event {
        let (key, value, time) = (Value::Null, Value::Null, Duration::ZERO);
        Event { process: 0, kind, f: f.to_owned(), key, value, time, error: None, node: None }
    }

    #[test]
    fn a_kind_of_operation_that_never_ended_well_is_not_good() {
        use EventKind::{Fail, Info, Invoke, Ok};
        let events = [event("read", Invoke), event("read", Ok), event("cas", Invoke), event("cas", Fail)];
        assert_eq!(stats(&events).answer, Answer::False);
        assert_eq!(Ends::of(&events), Ends { count: 2, ok_count: 1, fail_count: 1, info_count: 0 });
        assert_eq!(stats(&[event("read", Invoke)]).answer, Answer::True, "it has not ended");
        let check = stats(&[event("read", Info), event("read", Ok)]);
        assert_eq!(check.answer, Answer::True);
        let ends = json!({ "count": 2, "ok-count": 1, "fail-count": 0, "info-count": 1 });
        assert_eq!((&check.details["by-f"]["read"], &check.details["ok-count"]), (&ends, &json!(1)));
    }

    #[test]
    fn availability_is_the_part_that_was_asked_for_or_more() {
        let all = Ends { count: 4, ok_count: 3, ..Ends::default() };
        let table = [("total", Answer::False), ("0.75", Answer::True), ("0.8", Answer::False), ("0", Answer::True)];
        for (wanted, answer) in table {
            assert_eq!(availability(all, Some(wanted.parse().unwrap())).answer, answer, "{wanted}");
        }
        assert_eq!(availability(all, None).answer, Answer::True);
        for wanted in ["all", "1.1", "-1", "NaN"] {
            assert!(wanted.parse::<Availability>().is_err(), "{wanted}");
        }
    }
}
