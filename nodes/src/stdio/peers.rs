//! Nodes that are processes of their own and reach each other through whoever connects their inputs and outputs:
//! `{"src":"n1","dest":"n2","body":{"type":"raft","data":"..."}}`, the data a record of the library in base64.
//!
//! Promises: nothing of what a client sees depends on these lines; one that makes no sense is lost.
//! Leaves out: that a message arrives, or arrives once, or in order: [`quorate::transport::PostTransport`] expects
//! nothing of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate::NodeId;
use quorate::transport::Carrier;

use super::error::ErrorReply;
use super::message::Request;
use super::writer::Outbox;

/// The type of messages between nodes.
pub const PEER_MESSAGE: &str = "raft";

/// A message of another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerMessage {
    /// The node that sent it, as the router says.
    pub src: Arc<str>,
    /// The node that it is for.
    pub dest: Arc<str>,
    /// What it carries.
    pub record: Vec<u8>,
}

impl PeerMessage {
    pub(crate) fn of(request: &Request) -> Result<PeerMessage, ErrorReply> {
        let record = STANDARD
            .decode(request.fields().string("data")?)
            .map_err(|error| ErrorReply::malformed(format!("field `data`: {error}")))?;
        Ok(PeerMessage { src: Arc::clone(&request.src), dest: Arc::clone(&request.dest), record })
    }
}

/// Takes a node's records to the others, as lines of its output.
#[derive(Clone, Debug)]
pub struct PeerLines {
    own: Arc<str>,
    names: BTreeMap<NodeId, Arc<str>>,
    outbox: Outbox,
}

impl PeerLines {
    /// The node `own` among nodes of these names.
    pub fn new(own: Arc<str>, names: BTreeMap<NodeId, Arc<str>>, outbox: Outbox) -> Self {
        PeerLines { own, names, outbox }
    }
}

impl Carrier for PeerLines {
    fn send(&self, to: NodeId, record: Bytes) {
        if let Some(name) = self.names.get(&to) {
            self.outbox.send_peer(&self.own, name, &STANDARD.encode(record));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Line, parse};
    use super::super::writer::{Outgoing, write};
    use super::*;

    #[tokio::test]
    async fn a_record_comes_back_from_its_line_as_it_was() {
        let (outbox, messages) = Outbox::new();
        let names = BTreeMap::from([(NodeId(1), "a\"1".into()), (NodeId(2), "b".into())]);
        let lines = PeerLines::new("a\"1".into(), names, outbox.clone());
        let records: Vec<Bytes> =
            (0..40).map(|size| (0..size).map(|byte: u8| byte.wrapping_mul(37)).collect()).collect();
        for record in &records {
            lines.send(NodeId(2), record.clone());
            lines.send(NodeId(3), record.clone());
        }
        outbox.send(Outgoing::End);
        let mut output = Vec::new();
        write(messages, &mut output).await.unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text.lines().next().unwrap(), r#"{"src":"a\"1","dest":"b","body":{"type":"raft","data":""}}"#);
        assert_eq!(text.lines().count(), records.len());
        for (line, record) in text.lines().zip(&records) {
            let Line::Request(request) = parse(line.as_bytes()) else { panic!("{line}") };
            let message = PeerMessage::of(&request).unwrap();
            assert_eq!((&*message.src, &*message.dest), ("a\"1", "b"));
            assert_eq!(message.record, *record);
        }
    }

    #[test]
    fn what_carries_no_record_is_refused() {
        for body in [r#"{"type":"raft"}"#, r#"{"type":"raft","data":7}"#, r#"{"type":"raft","data":"a b"}"#] {
            let Line::Request(request) = parse(format!(r#"{{"src":"a","dest":"b","body":{body}}}"#).as_bytes()) else {
                panic!("{body}")
            };
            assert!(PeerMessage::of(&request).is_err(), "{body}");
        }
    }
}
