//! A failing run in words, as a person would tell it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;

use super::outcome::Outcome;
use super::plan::Plan;
use crate::run::{Event, EventKind};

/// What happened, in order: faults, and what clients called and saw. Then what was wrong with it.
pub fn story(outcome: &Outcome) -> String {
    let Plan { scenario, seed, .. } = &outcome.plan;
    let mut lines: Vec<(Duration, String)> = Vec::new();
    for fault in &outcome.run.faults {
        let whom = if fault.targets.is_empty() { "everybody".to_owned() } else { fault.targets.join(", ") };
        lines.push((fault.from, format!("{whom}: {}", fault.kind)));
        if let Some(to) = fault.to.filter(|to| *to > fault.from) {
            lines.push((to, format!("{whom}: {} no more", fault.kind)));
        }
    }
    for event in &outcome.run.events {
        lines.push((event.time, told(event)));
    }
    for violation in &outcome.violations {
        lines.push((violation.at, format!("WRONG: {}: {}", violation.property, violation.reason)));
    }
    // What happens at the same time stays in the order above.
    lines.sort_by_key(|(at, _)| *at);
    let mut text = format!("{scenario}, seed {seed}: {} faults\n", outcome.plan.faults.len());
    for (at, line) in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:>11.3} ms  {line}", at.as_secs_f64() * 1e3);
    }
    text
}

fn told(event: &Event) -> String {
    let Event { process, kind, f, key, value, error, node, .. } = event;
    let key = if key.is_null() { String::new() } else { format!(" {key}") };
    let via = node.as_ref().map(|node| format!(" through {node}")).unwrap_or_default();
    let value = if *value == Value::Null { String::new() } else { format!(" {value}") };
    let error = error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    match kind {
        EventKind::Invoke => format!("client {process} calls {f}{key}{value}{via}"),
        EventKind::Ok => format!("client {process} has {f}{key}{value}"),
        EventKind::Fail => format!("client {process}: {f}{key} did not happen{error}"),
        EventKind::Info => format!("client {process}: {f}{key} may have happened{error}"),
    }
}
