//! Files that are piped: what was said line by line, sent at once, is answered alike.

use serde_json::Value;

use crate::process::Process;
use crate::transcript::matches;

/// Sends all that a transcript sends, without waiting for anything, and compares the answers. Those to different
/// clients may come in any order, so their numbers may be others.
fn pipe(name: &str, script: &str) {
    let mut lines = script.lines().map(str::trim);
    let command = lines.find_map(|line| line.strip_prefix('$')).expect("what to run");
    let mut words = command.split_whitespace();
    let binary = words.next().expect("a binary");
    // The input ends at once, and a slow machine is given the time that it needs.
    let args: Vec<&str> = words.chain(["--drain-timeout", "60000"]).collect();
    let mut process = Process::start(binary, &args);
    let mut expected = Vec::new();
    for line in lines {
        if let Some(sent) = line.strip_prefix("> ") {
            process.send_line(sent);
        } else if let Some(answer) = line.strip_prefix("< ") {
            let mut answer: Value = serde_json::from_str(answer).expect("JSON");
            answer["body"]["msg_id"] = "...".into();
            expected.push(answer);
        }
    }
    let ended = process.end();
    ended.assert_well();
    let mut received = ended.rest;
    for answer in &expected {
        let found = received.iter().position(|received| matches(answer, received));
        let found = found.unwrap_or_else(|| panic!("{name}: no\n{answer}\namong {received:#?}"));
        received.remove(found);
    }
    assert!(received.is_empty(), "{name}: {received:?}");
}

macro_rules! piped {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            pipe(stringify!($name), include_str!(concat!("../transcripts/", stringify!($name), ".txt")));
        })*
    };
}

// Those without faults, and without anything that takes its time.
piped! {
    master_chunkservers
    master_failover
    master_metadata
    master_rules
    master_sessions
    replica_group_configs
    replica_registers
    replica_rules
    shardkv_configs
    shardkv_data
    shardkv_rules
    shardkv_sessions
}
