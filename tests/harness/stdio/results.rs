//! What came of a run, as Maelstrom counts it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::network::{Counts, Traffic};
use super::runner::Finished;
use super::workload::{Judgement, Valid, Workload};
use crate::run::{Event, EventKind};

/// The part of operations that must have ended well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Availability {
    /// All of them.
    Total,
    /// At least this part, from 0 to 1.
    AtLeast(f64),
}

impl std::str::FromStr for Availability {
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

/// The results of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// Whether all of it is as it must be.
    pub valid: Valid,
    /// Why it ended before its time, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crash: Option<String>,
    /// The workload's verdict.
    pub workload: Judgement,
    /// Operations by how they ended.
    pub stats: Stats,
    /// How many ended well.
    pub availability: AvailabilityResult,
    /// What was said.
    pub net: Net,
    /// How often which fault came.
    pub nemesis: BTreeMap<String, u64>,
    /// What was wrong with what nodes wrote.
    pub warnings: Vec<String>,
}

/// Operations, counted.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stats {
    /// Not if there is a kind of operation of which none ended well.
    pub valid: Valid,
    /// All.
    #[serde(flatten)]
    pub all: Ends,
    /// By their names.
    pub by_f: BTreeMap<String, Ends>,
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

/// The part of operations that ended well.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AvailabilityResult {
    /// Whether that is enough.
    pub valid: Valid,
    /// The part; null of nothing.
    pub ok_fraction: Option<f64>,
}

/// Messages, counted.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Net {
    /// All.
    pub all: PerOperation,
    /// Those to or from clients.
    pub clients: Counts,
    /// Those between nodes.
    pub servers: PerOperation,
}

/// Messages, counted, also for each operation.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PerOperation {
    /// The messages.
    #[serde(flatten)]
    pub counts: Counts,
    /// For each operation called; null if there was none.
    pub msgs_per_op: Option<f64>,
}

impl Results {
    /// Judges a run. One that ended before its time is judged as far as it went, but never good.
    pub fn of(finished: &Finished, workload: &dyn Workload, wanted: Option<Availability>) -> Results {
        let run = &finished.run;
        let stats = Stats::of(&run.events);
        let availability = AvailabilityResult::of(stats.all, wanted);
        let judgement = workload.judge(run);
        let invoked = run.events.iter().filter(|event| event.kind == EventKind::Invoke).count();
        let mut nemesis = BTreeMap::new();
        for fault in &run.faults {
            *nemesis.entry(fault.kind.clone()).or_default() += 1;
        }
        let crash = finished.trouble.as_ref().map(ToString::to_string);
        let cut_short = if crash.is_some() { Valid::Unknown } else { Valid::True };
        let valid = judgement.valid.max(stats.valid).max(availability.valid).max(cut_short);
        Results {
            valid,
            crash,
            workload: judgement,
            stats,
            availability,
            net: Net::of(&finished.traffic, invoked),
            nemesis,
            warnings: finished.warnings.clone(),
        }
    }

    /// The results as JSON.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|error| json!({ "valid": "unknown", "crash": error.to_string() }))
    }

    /// The last line.
    pub fn last_line(&self) -> &'static str {
        match self.valid {
            Valid::True => "Everything looks good!",
            Valid::Unknown => "Errors occurred during analysis, but no anomalies found.",
            Valid::False => "Analysis invalid!",
        }
    }
}

impl Stats {
    fn of(events: &[Event]) -> Stats {
        let mut by_f: BTreeMap<String, Ends> = BTreeMap::new();
        let mut all = Ends::default();
        for event in events {
            let ends = by_f.entry(event.f.clone()).or_default();
            ends.add(event.kind);
            all.add(event.kind);
        }
        by_f.retain(|_, ends| ends.count > 0);
        Stats { valid: by_f.values().all(|ends| ends.ok_count > 0).into(), all, by_f }
    }
}

impl Ends {
    fn add(&mut self, kind: EventKind) {
        match kind {
            EventKind::Invoke => return,
            EventKind::Ok => self.ok_count += 1,
            EventKind::Fail => self.fail_count += 1,
            EventKind::Info => self.info_count += 1,
        }
        self.count += 1;
    }
}

impl AvailabilityResult {
    fn of(all: Ends, wanted: Option<Availability>) -> AvailabilityResult {
        let ok_fraction = (all.count > 0).then(|| all.ok_count as f64 / all.count as f64);
        let valid = match wanted {
            None => true,
            Some(Availability::Total) => all.ok_count == all.count,
            Some(Availability::AtLeast(part)) => ok_fraction.unwrap_or_default() >= part,
        };
        AvailabilityResult { valid: valid.into(), ok_fraction }
    }
}

impl Net {
    fn of(traffic: &Traffic, invoked: usize) -> Net {
        let per_operation = |counts: Counts| {
            let msgs_per_op = (invoked > 0).then(|| counts.msg_count as f64 / invoked as f64);
            PerOperation { counts, msgs_per_op }
        };
        Net { all: per_operation(traffic.all), clients: traffic.clients, servers: per_operation(traffic.servers) }
    }
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
        let stats = Stats::of(&events);
        assert_eq!(stats.valid, Valid::False);
        assert_eq!(stats.all, Ends { count: 2, ok_count: 1, fail_count: 1, info_count: 0 });
        assert_eq!(Stats::of(&[event("read", Invoke)]).valid, Valid::True, "it has not ended");
        let events = [event("read", Info), event("read", Ok)];
        assert_eq!(Stats::of(&events).valid, Valid::True);
        let text = serde_json::to_value(Stats::of(&events)).unwrap();
        let ends = json!({ "count": 2, "ok-count": 1, "fail-count": 0, "info-count": 1 });
        assert_eq!((&text["by-f"]["read"], &text["ok-count"]), (&ends, &json!(1)));
    }

    #[test]
    fn availability_is_the_part_that_was_asked_for_or_more() {
        let all = Ends { count: 4, ok_count: 3, ..Ends::default() };
        let table = [("total", Valid::False), ("0.75", Valid::True), ("0.8", Valid::False), ("0", Valid::True)];
        for (wanted, valid) in table {
            assert_eq!(AvailabilityResult::of(all, Some(wanted.parse().unwrap())).valid, valid, "{wanted}");
        }
        assert_eq!(AvailabilityResult::of(all, None).valid, Valid::True);
        for wanted in ["all", "1.1", "-1", "NaN"] {
            assert!(wanted.parse::<Availability>().is_err(), "{wanted}");
        }
    }
}
