//! Random lines: nothing makes the process fail, and nobody is answered twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Scripted, options};
use crate::stdio::message::{Line, parse};
use crate::stdio::transcript::exchange;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        prop::sample::select(vec!["n1", "c1", "get", "put", "init", "fault", "config", "x"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z]{0,4}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Often a good message, sometimes one with anything in one of its fields, sometimes without one.
fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let kinds = vec!["get", "put", "scan", "stale", "config", "failover", "init", "fault", "fail", "panic", "mystery"];
    let good = (prop::sample::select(kinds), 0..3u8, 0..40u64, prop::sample::select(vec!["x", "y"]), 0..300u64);
    let spoilt = prop::option::weighted(
        0.3,
        (
            prop::sample::select(vec!["src", "dest", "body", "type", "msg_id", "key", "ms"]),
            prop::option::of(any_json()),
        ),
    );
    (good, spoilt).prop_map(|((kind, client, msg_id, key, ms), spoilt)| {
        let mut body = json!({"type": kind, "msg_id": msg_id, "key": key, "value": ms, "ms": ms,
            "action": "delay", "target": "n1", "node_id": "n1", "node_ids": ["n1"]});
        let mut message = json!({"src": format!("c{client}"), "dest": "n1"});
        if let Some((field, value)) = spoilt {
            let of_message = ["src", "dest", "body"].contains(&field);
            if !of_message {
                set(&mut body, field, value.clone());
            }
            message["body"] = body;
            if of_message {
                set(&mut message, field, value);
            }
        } else {
            message["body"] = body;
        }
        message.to_string().into_bytes()
    })
}

fn set(object: &mut Value, field: &str, value: Option<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    match value {
        Some(value) => _ = map.insert(field.to_owned(), value),
        None => _ = map.shift_remove(field),
    }
}

fn any_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => any_message(),
        1 => any_json().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any_message(), any::<prop::sample::Index>()).prop_map(|(mut line, at)| {
            line.truncate(at.index(line.len()));
            line
        }),
        1 => (any_message(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut line, at, byte)| {
            let at = at.index(line.len());
            line[at] = byte;
            line
        }),
    ]
}

/// How often each (client, number) is to be answered.
fn expected(input: &[u8]) -> BTreeMap<(String, String), usize> {
    let mut expected = BTreeMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let sender = match parse(line) {
            Line::Request(request) => request.msg_id.map(|msg_id| (request.src.to_string(), msg_id.to_string())),
            Line::Refused(refused) => Some((refused.src.to_string(), refused.msg_id.to_string())),
            Line::Unreadable(_) | Line::Empty => None,
        };
        if let Some(sender) = sender {
            *expected.entry(sender).or_default() += 1;
        }
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_delivery_whose_sender_can_be_read_is_answered_exactly_once(
        init_first in any::<bool>(),
        lines in prop::collection::vec(any_line(), 0..60),
    ) {
        let init = br#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":99,"node_id":"n1","node_ids":["n1"]}}"#;
        let mut all = if init_first { vec![init.to_vec()] } else { vec![] };
        all.extend(lines);
        let input = all.join(&b'\n');
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let received = runtime.block_on(exchange(Scripted::default(), options(), &input)).unwrap();
        let mut answered: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut numbers: BTreeMap<String, u64> = BTreeMap::new();
        for line in &received {
            let sender = (line["dest"].as_str().unwrap().to_owned(), line["body"]["in_reply_to"].to_string());
            *answered.entry(sender).or_default() += 1;
            let next = numbers.entry(line["src"].as_str().unwrap().to_owned()).or_default();
            assert_eq!(line["body"]["msg_id"].as_u64(), Some(*next), "numbers have no holes");
            *next += 1;
        }
        assert_eq!(answered, expected(&input));
    }
}
