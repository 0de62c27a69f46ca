//! What a process writes, line by line.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::Program;
use super::watch::{Tail, Watch};
use crate::stdio::message::Message;
use crate::stdio::network::Network;

/// The number of lines that are remembered of each output.
const REMEMBERED: usize = 32;

/// The last lines of an output. Clones are of the same one.
#[derive(Clone, Default)]
pub(super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == REMEMBERED {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(super) fn tail(&self, of: &'static str) -> Tail {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Tail { of, lines: lines.iter().cloned().collect() }
    }
}

/// Reads lines until there are no more, or `take` has had enough.
async fn each_line(output: impl AsyncRead + Unpin, mut take: impl FnMut(Result<&str, &[u8]>) -> bool) {
    let mut output = BufReader::with_capacity(64 * 1024, output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
        let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
        if !take(str::from_utf8(bytes).map_err(|_| bytes)) {
            return;
        }
        line.clear();
    }
}

/// Gives the network what a node says in its own name to somebody who is there.
fn pass_on(node: &str, message: Message, network: &Network) -> Result<(), String> {
    if message.src != node {
        return Err(format!("it is in the name of {:?}", message.src));
    }
    network.send(message).map_err(|error| error.to_string())
}

/// Gives the network what a node says. After something that is no message, the node is not listened to any more: it goes
/// on, but nobody hears it.
pub(super) async fn listen(
    node: String,
    mut output: impl AsyncRead + Unpin,
    network: Network,
    watch: Watch,
    last: LastLines,
) {
    let mut is_mute = false;
    each_line(&mut output, |line| {
        let sent = match line {
            Ok(line) => {
                last.push(line.to_owned());
                Message::parse(line).and_then(|message| pass_on(&node, message, &network))
            }
            Err(bytes) => {
                last.push(String::from_utf8_lossy(bytes).into_owned());
                Err("not a text".to_owned())
            }
        };
        if let Err(why) = sent {
            let line = last.tail("").lines.pop().unwrap_or_default();
            watch
                .warn(format!("node {node} wrote a line that is no message ({why}) and is not heard any more: {line}"));
            is_mute = true;
        }
        !is_mute
    })
    .await;
    if is_mute {
        // Its output stays open: a node that is not heard is not told so.
        std::future::pending::<()>().await;
    }
    drop(output);
}

/// Keeps what a node logs.
pub(super) async fn log(
    node: String,
    output: impl AsyncRead + Unpin,
    (mut file, show): (File, bool),
    watch: Watch,
    last: LastLines,
) {
    each_line(output, |line| {
        let line = line.map_or_else(String::from_utf8_lossy, Into::into);
        // A log that cannot be written is no reason to stop the test.
        let _ = writeln!(file, "{line}");
        if show {
            watch.tell(&format!("{node}: {line}"));
        }
        last.push(line.into_owned());
        true
    })
    .await;
}

/// The file for what a node logs, which is continued by its next process.
pub(super) fn log_file(program: &Program, node: &str) -> io::Result<File> {
    fs::create_dir_all(&program.logs)?;
    File::options().create(true).append(true).open(program.logs.join(format!("{node}.log")))
}
