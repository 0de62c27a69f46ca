//! The transcripts of `docs/sql.md` and the README, played.

use std::time::Duration;

use quorate_nodes::stdio::ServeOptions;
use quorate_nodes::stdio::transcript::play;
use quorate_sql::service::{Coordinator, CoordinatorOptions};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_documentation_shows_is_what_is_answered() {
    assert_eq!(play_all(include_str!("../../../../docs/sql.md")).await, 2);
    assert_eq!(play_all(include_str!("../../../../README.md")).await, 1);
}

/// Says how many there were.
async fn play_all(document: &str) -> usize {
    let mut played = 0;
    for block in document.split("```").skip(1).step_by(2) {
        let script = block.strip_prefix("transcript coordinator").and_then(|block| block.split_once('\n'));
        let Some((_, script)) = script else { continue };
        let script: Vec<String> = script.lines().map(patient).collect();
        let request_timeout = Duration::from_secs(60);
        let serve = ServeOptions { request_timeout, allow_faults: true, ..ServeOptions::default() };
        let coordinator = Coordinator::new(CoordinatorOptions { request_timeout, ..CoordinatorOptions::default() });
        let result = play(coordinator, serve, &script.join("\n")).await;
        result.unwrap_or_else(|error| panic!("{}\n{error}", script.join("\n")));
        played += 1;
    }
    played
}

/// A busy machine is slower than a reader would like to wait: statements get more time.
fn patient(line: &str) -> String {
    let Some(sent) = line.strip_prefix('>') else { return line.to_owned() };
    let mut sent: Value = serde_json::from_str(sent).expect("what is sent is JSON");
    if sent["body"]["type"] == "scatter_query" {
        sent["body"]["timeout_ms"] = 30_000.into();
    }
    format!("> {sent}")
}
