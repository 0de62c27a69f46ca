//! The rules of the protocol, each shown on a service that does as it is told.

mod bad_input;
mod deadlines;
mod ending;
mod init;
mod order;
mod random;
mod repeats;
mod scripted;

use super::serve::ServeOptions;
use super::transcript;
use scripted::Scripted;

/// Faults are allowed, because the tests open gates with them.
fn options() -> ServeOptions {
    ServeOptions { allow_faults: true, ..ServeOptions::default() }
}

const INIT: &str = r#"
> {"src":"c0","dest":"n1","body":{"type":"init","msg_id":1,"node_id":"n1","node_ids":["n1","n2"]}}
< {"src":"n1","dest":"c0","body":{"type":"init_ok","in_reply_to":1,"msg_id":0}}
"#;

/// Plays a script after an `init`, and returns what the service saw.
async fn play(script: &str) -> Vec<String> {
    play_with(options(), script).await
}

async fn play_with(options: ServeOptions, script: &str) -> Vec<String> {
    let service = Scripted::default();
    let journal = service.journal.clone();
    if let Err(why) = transcript::play(service, options, &format!("{INIT}{script}")).await {
        panic!("{why}\njournal: {:?}", journal.lock().unwrap());
    }
    let seen = std::mem::take(&mut *journal.lock().unwrap());
    assert_eq!(seen.last().map(String::as_str), Some("shutdown"));
    seen[1..seen.len() - 1].to_vec()
}
