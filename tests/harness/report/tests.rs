//! A report of a small run, read again.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::checker::Limits;
use crate::checker::json::JsonRegister;
use crate::findings::{Answer, Check};
use crate::run::{Event, EventKind, FaultWindow, Message, MessageFate};

/// A text that would be markup if it were not escaped.
const NASTY: &str = "</script><b onload=\"x\">&'";

/// Two processes and a register that forgets a write, while a node was away.
fn run() -> Run {
    let text = format!(
        r#"{{"process":0,"type":"invoke","f":"write","key":{key},"value":1,"time":1000000}}
{{"process":0,"type":"ok","f":"write","value":1,"time":3000000}}
{{"process":1,"type":"invoke","f":"write","key":{key},"value":2,"time":4000000}}
{{"process":0,"type":"invoke","f":"read","key":{key},"time":5000000,"node":"n1"}}
{{"process":0,"type":"ok","f":"read","value":2,"time":6000000}}
{{"process":0,"type":"invoke","f":"read","key":{key},"time":7000000}}
{{"process":0,"type":"ok","f":"read","value":1,"time":9000000}}
{{"process":1,"type":"info","f":"write","time":9500000,"error":{key}}}"#,
        key = json!(NASTY)
    );
    let message = |id, fate, time| Message {
        id,
        fate,
        time: Duration::from_micros(time),
        src: "c0".into(),
        dest: "n1".into(),
        says: NASTY.into(),
    };
    let window = |kind: &str, from, to: Option<u64>| FaultWindow {
        kind: kind.into(),
        targets: vec!["n1".into()],
        from: Duration::from_millis(from),
        to: to.map(Duration::from_millis),
    };
    Run {
        workload: "a register".into(),
        started: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        length: Duration::from_millis(10),
        settings: json!({ "seed": 7, "note": NASTY }),
        events: jsonl::read(text.as_bytes()).unwrap().events,
        faults: vec![window("pause", 2, Some(4)), window(NASTY, 8, None)],
        messages: vec![
            message(1, MessageFate::Sent, 10),
            message(2, MessageFate::Sent, 20),
            message(1, MessageFate::Received, 30),
            message(2, MessageFate::Lost, 40),
        ],
    }
}

fn judged(run: &Run) -> Findings {
    let register = JsonRegister::starting_with(Value::Null);
    Findings { checks: vec![Check::linearizability(&register, &run.events, Limits::default()).unwrap()] }
}

fn files(directory: &Path) -> Vec<(String, String)> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let names: BTreeSet<String> = fs::read_dir(directory).unwrap().map(name).collect();
    names.into_iter().map(|name| (name.clone(), fs::read_to_string(directory.join(name)).unwrap())).collect()
}

#[test]
fn the_same_run_gives_the_same_files_and_its_links_lead_to_the_last() {
    let (store, run) = (tempfile::tempdir().unwrap(), run());
    let findings = judged(&run);
    let first = write(store.path(), &run, &findings).unwrap();
    let second = write(store.path(), &run, &findings).unwrap();
    assert_eq!(first, store.path().join("a_register/20231114T221320.123Z"));
    assert_eq!(second, store.path().join("a_register/20231114T221320.123Z-2"));
    assert_eq!(files(&first), files(&second));
    let names: Vec<String> = files(&first).into_iter().map(|(name, _)| name).collect();
    let expected = [
        "history.jsonl",
        "index.html",
        "latency-quantiles.svg",
        "latency-raw.svg",
        "messages.svg",
        "rate.svg",
        "results.json",
        "timeline.html",
    ];
    assert_eq!(names, expected);
    for link in ["latest", "current", "a_register/latest"] {
        let led = fs::canonicalize(store.path().join(link)).unwrap();
        assert_eq!(led, fs::canonicalize(&second).unwrap(), "{link}");
    }
}

#[test]
fn results_tell_the_verdict_and_the_figures() {
    let (store, run) = (tempfile::tempdir().unwrap(), run());
    let directory = write(store.path(), &run, &judged(&run)).unwrap();
    let text = fs::read_to_string(directory.join("results.json")).unwrap();
    let results: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(results["valid"], false);
    assert_eq!(results["checks"][0]["anomaly"]["unplaced"], json!([5]));
    assert_eq!(results["checks"][0]["anomaly"]["orders"][0], json!([0, 2, 3]));
    let latency = json!({ "0.5": 2.0, "0.95": 2.0, "0.99": 2.0, "1": 2.0 });
    let write = json!({ "count": 2, "ok": 1, "fail": 0, "info": 1, "latency_ms": latency });
    assert_eq!(results["stats"]["write"], write);
    assert_eq!(results["net"], json!({ "send_count": 2, "recv_count": 1, "lost_count": 1, "msgs_per_op": 0.5 }));
    assert_eq!(results["faults"][0]["kind"], "pause");
    let history = fs::read(directory.join("history.jsonl")).unwrap();
    let read = jsonl::read(&history).unwrap();
    assert_eq!((read.events.len(), read.faults), (run.events.len(), run.faults.clone()));
    assert_eq!(read.events[3], run.events[3]);
}

#[test]
fn pictures_are_well_formed_whatever_was_said() {
    let (store, run) = (tempfile::tempdir().unwrap(), run());
    let findings = judged(&run);
    let directory = write(store.path(), &run, &findings).unwrap();
    for (name, text) in files(&directory).iter().filter(|(name, _)| name.ends_with(".svg")) {
        roxmltree::Document::parse(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    }
    let bars = bars::bars(&run.events);
    let (_, found) = findings.anomaly().unwrap();
    let svg = anomaly::draw(&bars, found, found.orders.first());
    let picture = roxmltree::Document::parse(&svg).unwrap();
    let of_class = |class| picture.descendants().filter(|node| node.attribute("class") == Some(class)).count();
    assert_eq!((of_class("ok"), of_class("info"), of_class("wrong")), (2, 1, 1));
    let dots: Vec<_> = picture.descendants().filter(|node| node.has_tag_name("circle")).collect();
    assert_eq!(dots.len(), 3, "an effect for each operation of the order");
    let column = |node: &roxmltree::Node<'_, '_>| node.attribute("cx").unwrap().parse::<u32>().unwrap();
    assert!(dots.windows(2).all(|pair| column(&pair[0]) < column(&pair[1])), "effects go from left to right");
}

#[test]
fn pages_load_nothing_from_elsewhere_and_escape_what_was_said() {
    let (store, run) = (tempfile::tempdir().unwrap(), run());
    let directory = write(store.path(), &run, &judged(&run)).unwrap();
    for (name, text) in files(&directory).iter().filter(|(name, _)| name.ends_with(".html")) {
        assert!(!text.contains("<b onload"), "{name}");
        let loads = ["src=\"http", "href=\"http", "@import", "url("];
        assert!(loads.iter().all(|load| !text.contains(load)), "{name}");
        assert_eq!(text.matches("<script").count(), text.matches("</script>").count(), "{name}");
    }
    let timeline = fs::read_to_string(directory.join("timeline.html")).unwrap();
    let data = timeline.split("id=\"run\">").nth(1).and_then(|rest| rest.split("</script>").next()).unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["operations"].as_array().map(Vec::len), Some(4));
    assert_eq!(data["operations"][2][6], "read");
    assert_eq!(data["anomaly"], json!({ "unplaced": [3], "order": [0, 1, 2] }));
    assert_eq!(data["keys"], json!([NASTY]));
}

#[test]
fn a_run_in_which_nothing_happened_has_a_report() {
    let store = tempfile::tempdir().unwrap();
    let nothing = Run { events: vec![], faults: vec![], messages: vec![], length: Duration::ZERO, ..run() };
    let directory = write(store.path(), &nothing, &Findings::default()).unwrap();
    assert!(!directory.join("messages.svg").exists());
    let index = fs::read_to_string(directory.join("index.html")).unwrap();
    assert!(index.contains("Nothing was checked"));
    for name in ["latency-raw.svg", "latency-quantiles.svg", "rate.svg"] {
        let text = fs::read_to_string(directory.join(name)).unwrap();
        roxmltree::Document::parse(&text).unwrap();
    }
}

#[test]
fn a_large_run_gives_pages_of_bearable_size() {
    let event = |kind, nth: u64, time| Event {
        process: nth % 20,
        kind,
        f: "write".into(),
        key: json!(nth % 7),
        value: json!(nth),
        time: Duration::from_micros(time),
        error: None,
        node: None,
    };
    let events = (0..10_000)
        .flat_map(|nth| [event(EventKind::Invoke, nth, nth * 100), event(EventKind::Ok, nth, nth * 100 + nth % 90)]);
    let run = Run { events: events.collect(), ..run() };
    let store = tempfile::tempdir().unwrap();
    let findings = Findings { checks: vec![Check::new("nothing", Answer::True, "it is fine")] };
    let directory = write(store.path(), &run, &findings).unwrap();
    for (name, text) in files(&directory) {
        assert!(text.len() < 4_000_000, "{name} has {} bytes", text.len());
    }
}
