//! Transcripts: a binary, its options, and what is said.
//!
//! - `$ shardkv --allow-faults`: the first line, what to run;
//! - `> LINE` is sent; those that stand in a row are sent without waiting for answers;
//! - `< LINE` is the next line received, equal as JSON, but `"..."` stands for any value;
//! - `<~ LINE` is the same, but several in a row may come in any order. A node numbers what it sends as it sends it, so
//!   their `msg_id`s, those of each node, come in the order in which they stand;
//! - `>? LINE` is sent again and again until its answer is the `< LINE` that follows: for what takes its time. Its
//!   `msg_id` is made up each time. Later lines cannot know the `msg_id` of what that node sends: they say `"..."`;
//! - `# ...` and blank lines say nothing.
//!
//! After the last line the input ends; then nothing more may come, and the process exits with status 0.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{PATIENCE, Process};

/// Plays a transcript.
pub(crate) fn play(name: &str, script: &str) {
    let mut lines = script.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    let mut player = None;
    let mut repeated: Option<Value> = None;
    let mut any_order: Vec<Expected> = Vec::new();
    let mut last = 0;
    for (number, line) in &mut lines {
        let place = format!("{name}:{}", number + 1);
        last = number + 1;
        if line.starts_with('#') {
            continue;
        }
        if let Some(command) = line.strip_prefix('$') {
            let mut words = command.split_whitespace();
            let binary = words.next().unwrap_or_else(|| panic!("{place}: no binary"));
            player = Some(Player { process: Process::start(binary, &words.collect::<Vec<_>>()), made_up: 1 << 20 });
            continue;
        }
        let player = player.as_mut().unwrap_or_else(|| panic!("{place}: what is to be run?"));
        if let Some(expected) = line.strip_prefix("<~") {
            any_order.push(Expected { line: parse(&place, expected), place });
            continue;
        }
        player.receive_all(std::mem::take(&mut any_order));
        if let Some(request) = line.strip_prefix(">?") {
            repeated = Some(parse(&place, request));
        } else if let Some(sent) = line.strip_prefix('>') {
            player.process.send_line(sent.trim());
        } else if let Some(expected) = line.strip_prefix('<') {
            let expected = Expected { line: parse(&place, expected), place };
            match repeated.take() {
                Some(request) => player.repeat(request, &expected),
                None => player.receive_all(vec![expected]),
            }
        } else {
            panic!("{place} is none of a transcript: {line}");
        }
    }
    let mut player = player.unwrap_or_else(|| panic!("{name} is empty"));
    player.receive_all(any_order);
    let ended = player.process.end();
    assert!(ended.rest.is_empty(), "{name}:{last}: not expected at the end: {:?}", ended.rest);
    ended.assert_well();
}

struct Expected {
    line: Value,
    place: String,
}

struct Player {
    process: Process,
    made_up: u64,
}

impl Player {
    fn receive_all(&mut self, mut expected: Vec<Expected>) {
        while !expected.is_empty() {
            let wanted = || {
                let wanted = expected.iter().map(|Expected { line, place }| format!("{place}: {line}"));
                wanted.collect::<Vec<_>>().join("\n")
            };
            let received = self.process.receive().unwrap_or_else(|| panic!("the output ended before\n{}", wanted()));
            match (0..expected.len()).find(|&found| matches(&numbered(&expected, found), &received)) {
                Some(found) => take(&mut expected, found),
                None => panic!("received\n{received}\nin place of\n{}", wanted()),
            }
        }
    }

    fn repeat(&mut self, mut request: Value, expected: &Expected) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.made_up += 1;
            request["body"]["msg_id"] = self.made_up.into();
            let received = self.process.ask(&request);
            if matches(&expected.line, &received) {
                return;
            }
            assert!(Instant::now() < deadline, "{}: still\n{received}\nin place of\n{}", expected.place, expected.line);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The `found`th of what is expected, with the `msg_id` that it has if it is the first of its node's that comes.
fn numbered(expected: &[Expected], found: usize) -> Value {
    let mut line = expected[found].line.clone();
    let ids = expected.iter().filter(|other| other.line["src"] == line["src"]);
    let first = ids.filter_map(|other| other.line["body"].get("msg_id")).next();
    if let (Some(first), Some(own)) = (first, line["body"].get_mut("msg_id")) {
        own.clone_from(first);
    }
    line
}

/// Removes the `found`th, and hands its node's `msg_id`s on: the first one's is used up.
fn take(expected: &mut Vec<Expected>, found: usize) {
    let taken = expected.remove(found);
    let mut free = taken.line["body"].get("msg_id").cloned();
    for earlier in expected[..found].iter_mut().rev().filter(|earlier| earlier.line["src"] == taken.line["src"]) {
        if let (Some(id), Some(own)) = (&mut free, earlier.line["body"].get_mut("msg_id")) {
            std::mem::swap(id, own);
        }
    }
}

fn parse(place: &str, line: &str) -> Value {
    serde_json::from_str(line.trim()).unwrap_or_else(|error| panic!("{place} is not JSON: {error}"))
}

/// Equal as JSON; `"..."` equals anything.
pub(crate) fn matches(expected: &Value, received: &Value) -> bool {
    match (expected, received) {
        (Value::String(any), _) if any == "..." => true,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| matches(a, b)))
        }
        _ => expected == received,
    }
}
