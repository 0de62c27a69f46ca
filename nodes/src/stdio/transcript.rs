//! Golden transcripts: tests that read like a conversation with a process.
//!
//! A script is a list of lines:
//!
//! - `> LINE` is sent;
//! - `< LINE` is the next line received, equal as JSON; the string `"..."` in it stands for any value;
//! - `<~ LINE` is the same, but several in a row may come in any order;
//! - `# ...` and blank lines say nothing.
//!
//! Lines to send that stand in a row are sent without waiting for answers. After the last line the input ends, and
//! nothing else may have been received by the end.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, duplex};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::serve::{ServeOptions, serve};
use super::service::Service;

/// How long a line to be received may take.
const PATIENCE: Duration = Duration::from_secs(30);

const BUFFER: usize = 64 * 1024;

/// A service being talked to in process.
pub struct Conversation {
    input: DuplexStream,
    output: Lines<BufReader<DuplexStream>>,
    serving: JoinHandle<std::io::Result<()>>,
}

impl Conversation {
    /// Starts serving.
    pub fn start<S: Service>(service: S, options: ServeOptions) -> Self {
        let (input, their_input) = duplex(BUFFER);
        let (their_output, output) = duplex(BUFFER);
        let serving = tokio::spawn(serve(service, their_input, their_output, options));
        Conversation { input, output: BufReader::new(output).lines(), serving }
    }

    /// Sends bytes as they are.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.input.write_all(bytes).await.map_err(|error| format!("cannot send: {error}"))
    }

    /// Sends a line.
    pub async fn send(&mut self, line: &str) -> Result<(), String> {
        self.send_bytes(format!("{line}\n").as_bytes()).await
    }

    /// The next line received; `None` at the end.
    pub async fn receive(&mut self) -> Result<Option<Value>, String> {
        let line = timeout(PATIENCE, self.output.next_line()).await.map_err(|_| "nothing was received".to_owned())?;
        match line.map_err(|error| format!("cannot receive: {error}"))? {
            Some(line) => serde_json::from_str(&line).map(Some).map_err(|error| format!("received {line:?}: {error}")),
            None => Ok(None),
        }
    }

    /// Ends the input, and returns what is received until the end.
    pub async fn end(mut self) -> Result<Vec<Value>, String> {
        drop(self.input);
        let mut rest = Vec::new();
        while let Some(line) = self.output.next_line().await.map_err(|error| format!("cannot receive: {error}"))? {
            rest.push(serde_json::from_str(&line).map_err(|error| format!("received {line:?}: {error}"))?);
        }
        self.serving.await.map_err(|error| format!("serving failed: {error}"))?.map_err(|error| error.to_string())?;
        Ok(rest)
    }
}

/// Plays a script with a service. An error says which line was not received, and what was received instead.
pub async fn play<S: Service>(service: S, options: ServeOptions, script: &str) -> Result<(), String> {
    let mut conversation = Conversation::start(service, options);
    let mut any_order = Vec::new();
    for (number, line) in script.lines().map(str::trim).enumerate() {
        let number = number + 1;
        if let Some(expected) = line.strip_prefix("<~") {
            any_order.push((number, parse(number, expected)?));
            continue;
        }
        receive_all(&mut conversation, std::mem::take(&mut any_order)).await?;
        if let Some(expected) = line.strip_prefix('<') {
            receive_all(&mut conversation, vec![(number, parse(number, expected)?)]).await?;
        } else if let Some(sent) = line.strip_prefix('>') {
            conversation.send(sent.trim()).await?;
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(format!("line {number} is none of a transcript: {line}"));
        }
    }
    receive_all(&mut conversation, any_order).await?;
    match conversation.end().await?.first() {
        Some(more) => Err(format!("not expected at the end: {more}")),
        None => Ok(()),
    }
}

/// Sends all lines of `input` at once. An error says which line of `expected` was not received: all of them must be,
/// in that order, others may lie between.
pub async fn play_sample<S: Service>(
    service: S,
    options: ServeOptions,
    input: &str,
    expected: &str,
) -> Result<(), String> {
    let received = exchange(service, options, input.as_bytes()).await?;
    let mut left = received.iter();
    for (number, line) in expected.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let expected = parse(number + 1, line)?;
        if !left.any(|line| matches(&expected, line)) {
            return Err(format!("not received in its place: {expected}\nreceived: {}", join(&received)));
        }
    }
    Ok(())
}

/// Sends all of `input` at once and returns everything that is received.
pub async fn exchange<S: Service>(service: S, options: ServeOptions, input: &[u8]) -> Result<Vec<Value>, String> {
    let (their_output, output) = duplex(BUFFER);
    let input = std::io::Cursor::new(input.to_vec());
    let serving = tokio::spawn(serve(service, input, their_output, options));
    let mut lines = BufReader::new(output).lines();
    let mut received = Vec::new();
    while let Some(line) = lines.next_line().await.map_err(|error| format!("cannot receive: {error}"))? {
        received.push(serde_json::from_str(&line).map_err(|error| format!("received {line:?}: {error}"))?);
    }
    serving.await.map_err(|error| format!("serving failed: {error}"))?.map_err(|error| error.to_string())?;
    Ok(received)
}

async fn receive_all(conversation: &mut Conversation, mut expected: Vec<(usize, Value)>) -> Result<(), String> {
    while !expected.is_empty() {
        let wanted = || {
            let lines = expected.iter().map(|(number, line)| format!("line {number}: {line}"));
            lines.collect::<Vec<String>>().join("\n          ")
        };
        let received = conversation.receive().await.map_err(|error| format!("{error}\nexpected: {}", wanted()))?;
        let received = received.ok_or_else(|| format!("the output has ended\nexpected: {}", wanted()))?;
        match expected.iter().position(|(_, line)| matches(line, &received)) {
            Some(found) => _ = expected.remove(found),
            None => return Err(format!("received: {received}\nexpected: {}", wanted())),
        }
    }
    Ok(())
}

fn parse(number: usize, line: &str) -> Result<Value, String> {
    serde_json::from_str(line.trim()).map_err(|error| format!("line {number} is not JSON: {error}"))
}

fn join(lines: &[Value]) -> String {
    lines.iter().map(Value::to_string).collect::<Vec<String>>().join("\n          ")
}

/// Equal as JSON; `"..."` equals anything.
fn matches(expected: &Value, received: &Value) -> bool {
    match (expected, received) {
        (Value::String(any), _) if any == "..." => true,
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| matches(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| matches(a, b)))
        }
        _ => expected == received,
    }
}
