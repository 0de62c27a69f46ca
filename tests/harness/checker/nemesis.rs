//! What was done to the nodes, as lines of a history: `start-KIND` and `stop-KIND` of the process `nemesis`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::run::FaultWindow;

/// The process of such lines.
const NEMESIS: &str = "nemesis";

/// Whether a line is one of these.
pub(super) fn is_nemesis(line: &Value) -> bool {
    line["process"].as_str().is_some_and(|process| process.trim_start_matches(':') == NEMESIS)
}

/// The lines of fault windows, with their times, in no order.
pub(super) fn lines(faults: &[FaultWindow]) -> Vec<(Duration, Value)> {
    let line = |what: &str, fault: &FaultWindow, time: Duration| {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let f = format!("{what}-{}", fault.kind);
        (time, json!({ "process": NEMESIS, "type": "info", "f": f, "value": fault.targets, "time": nanos }))
    };
    let both =
        |fault: &FaultWindow| [Some(line("start", fault, fault.from)), fault.to.map(|to| line("stop", fault, to))];
    faults.iter().flat_map(both).flatten().collect()
}

/// Adds what a line says to the windows so far. A line of another form says nothing, and so does a stop without a start.
pub(super) fn note(faults: &mut Vec<FaultWindow>, line: &Value) {
    let (f, time) = (line["f"].as_str().unwrap_or_default(), Duration::from_nanos(line["time"].as_u64().unwrap_or(0)));
    let targets: Vec<String> = match &line["value"] {
        Value::Array(names) => names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let kind = |rest: &str| match rest.trim_start_matches('-') {
        "" => "fault".to_owned(),
        kind => kind.to_owned(),
    };
    if let Some(rest) = f.strip_prefix("start") {
        faults.push(FaultWindow { kind: kind(rest), targets, from: time, to: None });
    } else if let Some(rest) = f.strip_prefix("stop") {
        let is_it = |fault: &&mut FaultWindow| {
            fault.to.is_none() && fault.kind == kind(rest) && (targets.is_empty() || fault.targets == targets)
        };
        if let Some(fault) = faults.iter_mut().find(is_it) {
            fault.to = Some(time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_back_as_they_were() {
        let window = |kind: &str, targets: &[&str], from, to: Option<u64>| FaultWindow {
            kind: kind.into(),
            targets: targets.iter().map(ToString::to_string).collect(),
            from: Duration::from_nanos(from),
            to: to.map(Duration::from_nanos),
        };
        let faults = vec![
            window("partition", &["n1", "n2"], 10, Some(30)),
            window("partition", &["n3"], 20, Some(25)),
            window("kill", &[], 40, None),
        ];
        let mut lines = lines(&faults);
        lines.sort_by_key(|(time, _)| *time);
        let mut read = Vec::new();
        lines.iter().for_each(|(_, line)| note(&mut read, line));
        assert_eq!(read, faults);
        assert!(lines.iter().all(|(_, line)| is_nemesis(line)));
    }
}
