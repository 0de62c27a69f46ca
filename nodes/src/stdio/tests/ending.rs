//! The end of the input, of patience, of the reader.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::{Scripted, options};
use crate::stdio::ServeOptions;
use crate::stdio::serve::{serve, serve_until};
use crate::stdio::transcript::exchange;
use crate::stdio::window::WindowLimits;

const INIT: &str = r#"{"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1"]}}"#;

fn put(src: &str, msg_id: u64, more: Value) -> String {
    let mut line = json!({"src": src, "dest": "n1", "body": {"type": "put", "msg_id": msg_id, "key": "x", "value": 1}});
    line["body"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    line.to_string()
}

async fn ends(lines: &[String], options: ServeOptions) -> (Vec<(Value, Value)>, Vec<String>, u128) {
    let start = Instant::now();
    let service = Scripted::default();
    let journal = service.journal.clone();
    let input = format!("{INIT}\n{}", lines.join("\n"));
    let received = exchange(service, options, input.as_bytes()).await.unwrap();
    let ends = received.into_iter().skip(1);
    let ends =
        ends.map(|line| (line["dest"].clone(), line["body"].get("reason").unwrap_or(&line["body"]["type"]).clone()));
    let seen = journal.lock().unwrap().clone();
    (ends.collect(), seen, start.elapsed().as_millis())
}

#[tokio::test(start_paused = true)]
async fn everything_read_is_carried_out_before_the_end() {
    let lines = [put("c1", 1, json!({"ms": 500})), put("c2", 1, json!({"ms": 500})), put("c3", 1, json!({"ms": 500}))];
    let (ends, seen, elapsed) = ends(&lines, options()).await;
    assert_eq!(ends, ["c1", "c2", "c3"].map(|src| (json!(src), json!("put_ok"))));
    assert_eq!(seen.last().unwrap(), "shutdown");
    assert_eq!(elapsed, 1500);
}

#[tokio::test(start_paused = true)]
async fn after_the_drain_timeout_what_waits_is_refused_and_what_runs_is_left_open() {
    let options = ServeOptions { drain_timeout: Duration::from_millis(700), ..options() };
    let lines = [
        put("c1", 1, json!({"ms": 500})),
        put("c2", 1, json!({"ms": 500})),
        put("c3", 1, json!({"ms": 500})),
        put("c4", 1, json!({"type": "config"})),
        put("c5", 1, json!({"type": "mystery"})),
    ];
    let (ends, seen, elapsed) = ends(&lines, options).await;
    let reasons = [("c1", "put_ok"), ("c3", "shutting_down"), ("c4", "shutting_down"), ("c5", "error")];
    let mut expected = reasons.map(|(src, reason)| (json!(src), json!(reason))).to_vec();
    expected.push((json!("c2"), json!("shutting_down")));
    assert_eq!(ends, expected);
    assert_eq!(seen, ["init", "c1 put x=1", "c1 put x=1 done", "c2 put x=1", "shutdown"]);
    assert_eq!(elapsed, 700);
}

#[tokio::test(start_paused = true)]
async fn being_asked_to_stop_is_like_the_end_of_the_input() {
    let (mut input, their_input) = duplex(1024);
    let (their_output, mut output) = duplex(64 * 1024);
    let (stop, stopped) = oneshot::channel::<()>();
    let stop_future = async move { _ = stopped.await };
    let serving = tokio::spawn(serve_until(Scripted::default(), their_input, their_output, options(), stop_future));
    let lines = format!("{INIT}\n{}\nhalf a li", put("c1", 1, json!({"ms": 500})));
    input.write_all(lines.as_bytes()).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).await.unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_reads_the_answers_it_stops_cleanly_with_the_input_still_open() {
    let (mut input, their_input) = duplex(1024);
    let (their_output, output) = duplex(1024);
    let service = Scripted::default();
    let journal = service.journal.clone();
    let serving = tokio::spawn(serve(service, their_input, their_output, options()));
    drop(output);
    input.write_all(format!("{INIT}\n").as_bytes()).await.unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(*journal.lock().unwrap(), ["init", "shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn reading_pauses_while_answers_are_not_read() {
    let (mut input, their_input) = duplex(256);
    let (their_output, mut output) = duplex(256);
    let window = WindowLimits { lines: 8, ..WindowLimits::default() };
    let serving =
        tokio::spawn(serve(Scripted::default(), their_input, their_output, ServeOptions { window, ..options() }));
    let writing = tokio::spawn(async move {
        input.write_all(format!("{INIT}\n").as_bytes()).await.unwrap();
        for number in 0..200 {
            input.write_all(format!("{}\n", put("c1", number, json!({}))).as_bytes()).await.unwrap();
        }
    });
    sleep(Duration::from_secs(60)).await;
    assert!(!writing.is_finished(), "it reads on although nobody reads its answers");
    let mut text = String::new();
    output.read_to_string(&mut text).await.unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(text.matches("put_ok").count(), 200, "none was too late: a line is not read before there is room");
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_of_one_client_does_not_grow_old() {
    let lines: Vec<String> = (0..3000).map(|number| put("c1", number, json!({"ms": 5}))).collect();
    let (ends, _, elapsed) = ends(&lines, options()).await;
    assert!(ends.iter().all(|(_, end)| end == "put_ok"));
    assert_eq!((ends.len(), elapsed), (3000, 15_000), "one after the other, each within 2000 ms of being read");
}
