//! The binaries as processes: what they are fed, how they end, what they never do.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::process::{Ended, Process};
use serde_json::{Value, json};

const BINARIES: [&str; 4] = ["shardkv", "replica", "replica_group", "master"];

pub(crate) fn request(src: &str, dest: &str, body: Value) -> Value {
    json!({ "src": src, "dest": dest, "body": body })
}

fn init(process: &mut Process, names: &[&str]) {
    let body = json!({ "type": "init", "msg_id": 1, "node_id": names[0], "node_ids": names });
    let answer = process.ask(request("c0", names[0], body));
    assert_eq!(answer["body"]["type"], "init_ok", "{answer}");
}

/// Starts a binary that waits as long as a slow machine needs.
fn start(binary: &str) -> Process {
    Process::start(binary, &["--request-timeout", "30000"])
}

#[test]
fn garbage_is_passed_over_and_what_can_be_answered_is() {
    for binary in BINARIES {
        let mut process = start(binary);
        init(&mut process, &["a", "b"]);
        let garbage: [&[u8]; 12] = [
            b"not json\n",
            b"\n",
            b"{}\n",
            b"[1,2]\n",
            b"\x00\xff\xfe\n",
            b"{\"src\":\"c1\"\n",
            b"{\"src\":1,\"dest\":\"a\",\"body\":{\"type\":\"read\",\"msg_id\":1}}\n",
            b"{\"src\":\"c1\",\"dest\":\"a\",\"body\":{\"type\":\"read\",\"msg_id\":\"1\"}}\n",
            b"{\"src\":\"c1\",\"dest\":\"a\",\"body\":{\"type\":7,\"msg_id\":7}}\n",
            b"{\"src\":\"c1\",\"dest\":\"a\",\"body\":{\"msg_id\":8}}\n",
            b"{\"src\":\"c1\",\"dest\":[],\"body\":{\"type\":\"read\",\"msg_id\":9}}\n",
            b"{\"src\":\"c1\",\"dest\":\"a\",\"body\":{\"type\":\"read\"}}\n",
        ];
        process.send(garbage.concat());
        let mut answered: Vec<u64> = (0..3)
            .map(|_| {
                let answer = process.receive().expect("an answer");
                assert_eq!(answer["body"]["code"], 12, "{binary}: {answer}");
                answer["body"]["in_reply_to"].as_u64().expect("a number")
            })
            .collect();
        answered.sort_unstable();
        assert_eq!(answered, [7, 8, 9]);
        let answer = process.ask(request("c1", "b", json!({ "type": "fly", "msg_id": 10 })));
        assert_eq!(answer["body"]["code"], 10, "{binary}: {answer}");
        let ended = process.end();
        ended.assert_well();
        assert!(ended.rest.is_empty(), "{:?}", ended.rest);
        assert!(ended.errors.lines().count() >= 7, "one line on standard error for each: {}", ended.errors);
    }
}

#[test]
fn a_line_that_is_too_long_is_refused_and_the_next_one_read() {
    for binary in BINARIES {
        let mut process = start(binary);
        init(&mut process, &["a"]);
        let head = r#"{"src":"c1","dest":"a","body":{"msg_id":5,"type":"write","key":"k","value":""#;
        let piece = vec![b'x'; 1 << 20];
        process.send(head);
        (0..17).for_each(|_| process.send(&piece));
        process.send("\"}}\n");
        let answer = process.receive().expect("an answer");
        assert_eq!((&answer["body"]["code"], &answer["body"]["in_reply_to"]), (&json!(12), &json!(5)), "{answer}");
        let answer = process.ask(request("c1", "a", json!({ "type": "fly", "msg_id": 6 })));
        assert_eq!(answer["body"]["code"], 10, "{answer}");
        process.end().assert_well();
    }
}

#[test]
fn a_value_of_many_megabytes_comes_back_whole() {
    let mut process = start("replica");
    init(&mut process, &["n1", "n2", "n3"]);
    let value = "x".repeat(15 << 20);
    let write = json!({ "type": "write", "msg_id": 2, "key": "k", "value": value });
    assert_eq!(process.ask(request("c1", "n2", write))["body"]["type"], "write_ok");
    let read = process.ask(request("c1", "n3", json!({ "type": "read", "msg_id": 3, "key": "k" })));
    assert_eq!(read["body"]["value"].as_str().map(str::len), Some(value.len()));
    process.end().assert_well();
}

#[test]
fn no_digit_of_a_value_is_lost() {
    let digits = "123456789012345678901234567890.12345678901234567890";
    for (binary, node) in [("replica", "n1"), ("shardkv", "n1")] {
        let mut child = Command::new(crate::binary(binary))
            .args(["--request-timeout", "60000", "--drain-timeout", "60000"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = [
            request("c", node, json!({ "type": "init", "msg_id": 1, "node_id": node, "node_ids": [node] })).to_string(),
            request("c", node, json!({ "type": "config", "msg_id": 2, "version": 1, "shards": { "0": "g1" } }))
                .to_string(),
            format!(
                r#"{{"src":"c","dest":"{node}","body":{{"type":"write","msg_id":3,"key":"k","value": [ {digits} ] }}}}"#
            ),
            request("c", node, json!({ "type": "read", "msg_id": 4, "key": "k" })).to_string(),
        ];
        let mut input = child.stdin.take().expect("an input");
        std::io::Write::write_all(&mut input, lines.join("\n").as_bytes()).expect("the input is read");
        drop(input);
        let mut output = String::new();
        child.stdout.take().expect("an output").read_to_string(&mut output).expect("the output can be read");
        assert!(child.wait().expect("it ends").success());
        assert!(output.contains(&format!(r#""value":[{digits}]"#)), "{output}");
    }
}

#[test]
fn what_was_read_before_the_end_of_the_input_is_carried_out() {
    let mut process = Process::start("replica", &["--request-timeout", "60000", "--drain-timeout", "60000"]);
    let mut lines = vec![request(
        "c0",
        "n1",
        json!({ "type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1", "n2", "n3"] }),
    )];
    // Without a line's end after the last one.
    lines.extend((0..50).map(|n| {
        let node = ["n1", "n2", "n3"][n % 3];
        request(&format!("c{}", n % 7), node, json!({ "type": "write", "msg_id": n + 2, "key": "k", "value": n }))
    }));
    lines.push(request("c9", "n2", json!({ "type": "read", "msg_id": 99, "key": "k" })));
    process.send(lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
    let Ended { status, rest, errors } = process.end();
    assert_eq!(status.code(), Some(0), "{errors}");
    assert_eq!(rest.len(), lines.len());
    let read = rest.iter().find(|answer| answer["body"]["in_reply_to"] == 99).expect("the read is answered");
    assert_eq!(read["body"]["value"], 49, "it sees the last write above it, whoever sent it");
}

#[test]
fn an_input_that_ends_at_once_or_inside_a_line_is_a_good_end() {
    for binary in BINARIES {
        let ended = start(binary).end();
        ended.assert_well();
        assert!(ended.rest.is_empty());
        let mut process = start(binary);
        process.send("{\"src\":\"c1\",\"dest\":\"a\",\"bo");
        process.end().assert_well();
        let mut process = start(binary);
        init(&mut process, &["a"]);
        process.end().assert_well();
    }
}

#[test]
fn a_request_to_stop_ends_the_process_as_the_end_of_its_input_does() {
    for binary in BINARIES {
        let mut process = start(binary);
        init(&mut process, &["a", "b"]);
        process.signal("TERM");
        let ended = process.wait();
        ended.assert_well();
    }
    // Something is in flight that will never end.
    let mut process =
        Process::start("replica", &["--request-timeout", "60000", "--drain-timeout", "200", "--allow-faults"]);
    init(&mut process, &["n1", "n2", "n3"]);
    for (nth, target) in ["n2", "n3"].into_iter().enumerate() {
        let fault = json!({ "type": "fault", "msg_id": 10 + nth, "action": "stop", "target": target });
        assert_eq!(process.ask(request("c0", "n1", fault))["body"]["type"], "fault_ok");
    }
    process.send_line(request("c1", "n1", json!({ "type": "write", "msg_id": 2, "key": "k", "value": 1 })));
    process.send_line(request("c2", "n1", json!({ "type": "write", "msg_id": 3, "key": "k", "value": 2 })));
    // It has been read when this one has been answered.
    let answer = process.ask(request("c3", "n1", json!({ "type": "fly", "msg_id": 4 })));
    assert_eq!(answer["body"]["code"], 10);
    process.signal("TERM");
    let ended = process.wait();
    ended.assert_well();
    let code = |msg_id: u64| {
        let answer = ended.rest.iter().find(|answer| answer["body"]["in_reply_to"] == msg_id).expect("an answer");
        assert_eq!(answer["body"]["reason"], "shutting_down", "{answer}");
        answer["body"]["code"].as_u64()
    };
    assert_eq!(code(2), Some(0), "it had started");
    assert_eq!(code(3), Some(11), "it had not");
}

#[test]
fn nobody_who_reads_the_answers_is_no_reason_to_panic() {
    for binary in BINARIES {
        let mut child = Command::new(crate::binary(binary))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        drop(child.stdout.take());
        let mut input = child.stdin.take().expect("an input");
        let body = json!({ "type": "init", "msg_id": 1, "node_id": "a", "node_ids": ["a"] });
        let line = format!("{}\n", request("c0", "a", body));
        // Until it is gone, or has taken enough to know.
        let _ = (0..1000).try_for_each(|_| std::io::Write::write_all(&mut input, line.as_bytes()));
        let status = child.wait().expect("it ends by itself, its input still open");
        let mut errors = String::new();
        child.stderr.take().expect("errors").read_to_string(&mut errors).expect("errors can be read");
        assert_eq!(status.code(), Some(0), "{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for binary in BINARIES {
        for args in [&["--shards", "0"][..], &["--replicas", "0"], &["--no-such-option"], &["--seed", "x"]] {
            let ended = Process::start(binary, args).wait();
            assert_eq!(ended.status.code(), Some(2), "{binary} {args:?}");
            ended.assert_no_panic();
        }
        assert_eq!(Process::start(binary, &["--help"]).child_status(), Some(0));
    }
    // A group is named where a process is one node of it, and then always.
    for args in [&["--distributed"][..], &["--group", "g1"], &["--peers", "g2=n4"]] {
        assert_eq!(Process::start("replica_group", args).wait().status.code(), Some(2), "{args:?}");
    }
    for peers in ["g2", "g2=", "=n4", "g2=n4,,n5"] {
        let args = ["--distributed", "--group", "g1", "--peers", peers];
        assert_eq!(Process::start("replica_group", &args).wait().status.code(), Some(2), "{peers}");
    }
}

#[test]
fn any_number_of_replicas_and_any_seed_will_do() {
    for replicas in ["1", "2", "5"] {
        let mut process =
            Process::start("shardkv", &["--replicas", replicas, "--seed", "7", "--request-timeout", "30000"]);
        init(&mut process, &["p"]);
        let join = json!({ "type": "join", "msg_id": 2, "groups": { "g1": [], "g2": [] } });
        assert_eq!(process.ask(request("c", "p", join))["body"]["version"], 1);
        let put = json!({ "type": "put", "msg_id": 3, "key": "k", "value": 1 });
        assert_eq!(process.ask(request("c", "p", put))["body"]["type"], "put_ok");
        process.end().assert_well();
    }
}
