//! Lines that are no requests, or no good ones.

use serde_json::{Value, json};

use super::{Scripted, options, play};
use crate::stdio::ServeOptions;
use crate::stdio::transcript::exchange;

const INIT: &str = r#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"]}}"#;
const GET: &str = r#"{"src":"c9","dest":"n1","body":{"type":"get","msg_id":9,"key":"x"}}"#;

/// What is received for `lines` between an `init` and a `get`, which must both work.
async fn received(options: ServeOptions, lines: &[&[u8]]) -> Vec<Value> {
    let mut input = format!("{INIT}\n").into_bytes();
    for line in lines {
        input.extend_from_slice(line);
        input.push(b'\n');
    }
    input.extend_from_slice(GET.as_bytes());
    let mut received = exchange(Scripted::default(), options, &input).await.unwrap();
    assert_eq!(received.remove(0)["body"]["type"], "init_ok");
    let get = received.iter().position(|line| line["dest"] == "c9").unwrap();
    assert_eq!(received.remove(get)["body"]["type"], "get_ok");
    received
}

fn codes(received: &[Value]) -> Vec<Value> {
    received.iter().map(|line| json!([line["dest"], line["body"]["in_reply_to"], line["body"]["code"]])).collect()
}

#[tokio::test(start_paused = true)]
async fn lines_that_say_nothing_are_passed_over() {
    let lines: [&[u8]; 8] = [b"", b"  ", b"\r", b"nonsense", b"{", b"\xff\xff", b"\0\0", b"[1,2]"];
    assert_eq!(received(options(), &lines).await, [] as [Value; 0]);
}

#[tokio::test(start_paused = true)]
async fn whoever_can_be_told_is_told() {
    let deep = "[".repeat(10_000);
    let deep = format!(
        r#"{{"src":"c1","dest":"n1","body":{{"msg_id":5,"type":"put","key":"x","value":{deep}{}}}}}"#,
        "]".repeat(10_000)
    );
    let lines: [&str; 8] = [
        r#"{"src":"c1","body":{"type":"get","msg_id":1,"key":"x"}}"#,
        r#"{"src":"c1","dest":"n1","body":{"msg_id":2}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"get","msg_id":3}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"put","msg_id":4,"key":1.5,"value":1}}"#,
        &deep,
        r#"{"src":"c1","dest":"n1","body":{"type":"put","msg_id":6,"key":"x","value":1e400}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"Get","msg_id":7,"key":"x"}}"#,
        r#"{"src":"c1","dest":"n1","body":{"type":"panic_early","msg_id":8}}"#,
    ];
    let received = received(options(), &lines.map(str::as_bytes)).await;
    let mut codes = codes(&received);
    codes.sort_by_key(|code| code[1].as_u64());
    let expected = [12, 12, 12, 12, 12, 12, 10, 13];
    let expected: Vec<Value> = expected.iter().zip(1..).map(|(code, id)| json!(["c1", id, code])).collect();
    assert_eq!(codes, expected);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_too_long_is_refused_and_the_next_one_is_read() {
    let options = ServeOptions { line_bytes: 200_000, ..options() };
    let filler = "x".repeat(300_000);
    let front =
        format!(r#"{{"src":"c1","dest":"n1","body":{{"type":"put","msg_id":1,"key":"x","value":"{filler}"}}}}"#);
    let back = format!(r#"{{"src":"c1","dest":"n1","body":{{"type":"put","value":"{filler}","key":"x","msg_id":2}}}}"#);
    let received = received(options, &[front.as_bytes(), back.as_bytes()]).await;
    assert_eq!(codes(&received), [json!(["c1", 1, 12])], "the second one's number does not stand in its head");
}

#[tokio::test(start_paused = true)]
async fn a_carriage_return_before_the_newline_does_no_harm() {
    let line: &[u8] = b"{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"get\",\"msg_id\":1,\"key\":\"x\"}}\r";
    let received = received(options(), &[line]).await;
    assert_eq!(received[0]["body"]["type"], "get_ok");
}

#[tokio::test(start_paused = true)]
async fn odd_names_and_keys_are_carried_faithfully() {
    play(
        r#"
        > {"src":"c\n\"\u0000é","dest":"n1","body":{"type":"put","msg_id":-1,"key":"a\u0000","value":{"b":[1.50,null]}}}
        < {"src":"n1","dest":"c\n\"\u0000é","body":{"type":"put_ok","in_reply_to":-1,"msg_id":1}}
        > {"src":"c","dest":"n1","body":{"type":"get","msg_id":18446744073709551615,"key":"a\u0000"}}
        < {"src":"n1","dest":"c","body":{"type":"get_ok","in_reply_to":18446744073709551615,"msg_id":2,"key":"a\u0000","value":{"b":[1.50,null]}}}
        > {"src":"c","dest":"n1","body":{"type":"put","msg_id":1,"key":7,"value":"seven"}}
        < {"src":"n1","dest":"c","body":{"type":"put_ok","in_reply_to":1,"msg_id":3}}
        > {"src":"c","dest":"n1","body":{"type":"get","msg_id":2,"key":7}}
        < {"src":"n1","dest":"c","body":{"type":"get_ok","in_reply_to":2,"msg_id":4,"key":7,"value":"seven"}}
        > {"src":"c","dest":"n1","body":{"type":"get","msg_id":3,"key":"7"}}
        < {"src":"n1","dest":"c","body":{"type":"get_ok","in_reply_to":3,"msg_id":5,"key":"7","value":"seven"}}
        "#,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_answered_with_an_open_outcome() {
    play(
        r#"
        > {"src":"c1","dest":"n1","body":{"type":"panic","msg_id":1}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":1,"msg_id":1,"code":13,"text":"..."}}
        > {"src":"c1","dest":"n1","body":{"type":"fail","msg_id":2}}
        < {"src":"n1","dest":"c1","body":{"type":"error","in_reply_to":2,"msg_id":2,"code":22,"text":"as asked","reason":"asked","n":1}}
        "#,
    )
    .await;
}
