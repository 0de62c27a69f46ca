//! The one task that writes: whole lines, numbered in the order in which they leave.
//!
//! Promises: each node's messages to clients carry 0, 1, 2, ..., and those to other nodes no number; nobody else writes to
//! the output.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Number;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::peers::PEER_MESSAGE;
use super::reply::{Answer, Reply, to_json};
use super::window::Slot;

/// A message on its way out.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// To a client. The place that the request holds in the window is freed once the line has been written.
    Message { src: Arc<str>, dest: Arc<str>, in_reply_to: Option<Number>, answer: Answer, slot: Option<Slot> },
    /// To another node, with this body. It has no number: clients see none missing.
    Peer { src: Arc<str>, dest: Arc<str>, body: String },
    /// Nothing follows.
    End,
}

/// So many bytes for other nodes wait to be written, at most; what is more is lost.
const PEER_BYTES_MAX: usize = 64 << 20;

/// Where messages to clients and to other nodes are put.
#[derive(Clone, Debug)]
pub struct Outbox {
    messages: mpsc::UnboundedSender<Outgoing>,
    /// Bytes for other nodes that wait to be written.
    peer_bytes: Arc<AtomicUsize>,
}

impl Outbox {
    pub(crate) fn new() -> (Outbox, Queue) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let peer_bytes = Arc::<AtomicUsize>::default();
        (Outbox { messages: sender, peer_bytes: Arc::clone(&peer_bytes) }, Queue { messages: receiver, peer_bytes })
    }

    /// Sends a client a message that answers nothing, in the name of the node `src`.
    pub fn notify(&self, src: &str, dest: &str, kind: &'static str, fields: Reply) {
        let answer = Answer::notification(fields, kind);
        self.send(Outgoing::Message { src: src.into(), dest: dest.into(), in_reply_to: None, answer, slot: None });
    }

    /// Sends another node a record, whose `data` has nothing in it that JSON would have to escape.
    pub(crate) fn send_peer(&self, src: &Arc<str>, dest: &Arc<str>, data: &str) {
        self.send_body(src, dest, format!(r#"{{"type":"{PEER_MESSAGE}","data":"{data}"}}"#));
    }

    /// Sends another node a message with this body, a JSON object with its `type`, unless too much waits already.
    pub fn send_body(&self, src: &Arc<str>, dest: &Arc<str>, body: String) {
        let bytes = body.len();
        if self.peer_bytes.fetch_add(bytes, Ordering::Relaxed) > PEER_BYTES_MAX {
            self.peer_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return;
        }
        self.send(Outgoing::Peer { src: Arc::clone(src), dest: Arc::clone(dest), body });
    }

    pub(crate) fn send(&self, message: Outgoing) {
        // Once the writer has stopped there is nobody to tell.
        let _ = self.messages.send(message);
    }

    /// Completes when nothing can be written any more.
    pub(crate) async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// What waits to be written.
pub(crate) struct Queue {
    messages: mpsc::UnboundedReceiver<Outgoing>,
    peer_bytes: Arc<AtomicUsize>,
}

/// Writes until [`Outgoing::End`].
pub(crate) async fn write(queue: Queue, mut output: impl AsyncWrite + Unpin) -> io::Result<()> {
    let Queue { mut messages, peer_bytes } = queue;
    const BATCH: usize = 64;
    let mut numbers: HashMap<Arc<str>, u64> = HashMap::new();
    let mut batch = Vec::with_capacity(BATCH);
    let mut text = String::new();
    while messages.recv_many(&mut batch, BATCH).await > 0 {
        let mut slots = Vec::with_capacity(batch.len());
        let mut ended = false;
        for message in batch.drain(..) {
            match message {
                Outgoing::Message { src, dest, in_reply_to, answer, slot } => {
                    let number = numbers.entry(src.clone()).or_default();
                    push_line(&mut text, &src, &dest, in_reply_to.as_ref(), *number, &answer);
                    *number += 1;
                    slots.push(slot);
                }
                Outgoing::Peer { src, dest, body } => {
                    peer_bytes.fetch_sub(body.len(), Ordering::Relaxed);
                    let (src, dest) = (to_json(&src), to_json(&dest));
                    let _ = writeln!(text, r#"{{"src":{src},"dest":{dest},"body":{body}}}"#);
                }
                Outgoing::End => ended = true,
            }
        }
        output.write_all(text.as_bytes()).await?;
        output.flush().await?;
        text.clear();
        text.shrink_to(64 * 1024);
        drop(slots);
        if ended {
            break;
        }
    }
    Ok(())
}

fn push_line(text: &mut String, src: &str, dest: &str, in_reply_to: Option<&Number>, number: u64, answer: &Answer) {
    let (src, dest, kind) = (to_json(src), to_json(dest), to_json(&answer.kind));
    let _ = write!(text, r#"{{"src":{src},"dest":{dest},"body":{{"type":{kind}"#);
    if let Some(in_reply_to) = in_reply_to {
        let _ = write!(text, r#","in_reply_to":{in_reply_to}"#);
    }
    let _ = writeln!(text, r#","msg_id":{number}{}}}}}"#, answer.tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_node_numbers_its_messages_from_zero() {
        let (outbox, messages) = Outbox::new();
        for (src, dest) in [("n1", "c1"), ("n2", "c1"), ("n1", "c2")] {
            outbox.notify(src, dest, "primary_changed", Reply::new().field("epoch", 3));
        }
        outbox.send(Outgoing::End);
        let mut output = Vec::new();
        write(messages, &mut output).await.unwrap();
        let lines = [
            r#"{"src":"n1","dest":"c1","body":{"type":"primary_changed","msg_id":0,"epoch":3}}"#,
            r#"{"src":"n2","dest":"c1","body":{"type":"primary_changed","msg_id":0,"epoch":3}}"#,
            r#"{"src":"n1","dest":"c2","body":{"type":"primary_changed","msg_id":1,"epoch":3}}"#,
        ];
        assert_eq!(String::from_utf8(output).unwrap(), lines.map(|line| format!("{line}\n")).concat());
    }
}
