//! Who said what to whom: all of it as numbers, the beginning of it word for word.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::run::{self, MessageFate};
use crate::stdio::message::Message;

/// Messages, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Counts {
    /// That were sent.
    pub send_count: u64,
    /// That arrived.
    pub recv_count: u64,
    /// Different ones: one that arrives twice is one.
    pub msg_count: u64,
}

/// All messages, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All.
    pub all: Counts,
    /// Those to or from clients.
    pub clients: Counts,
    /// Those between nodes.
    pub servers: Counts,
}

pub(super) struct Journal {
    traffic: Traffic,
    /// How many messages of each type nodes have sent each other.
    kinds: BTreeMap<String, u64>,
    messages: Vec<run::Message>,
    remembered: usize,
}

impl Journal {
    pub(super) fn new(remembered: usize) -> Journal {
        Journal { traffic: Traffic::default(), kinds: BTreeMap::new(), messages: Vec::new(), remembered }
    }

    pub(super) fn sent(&mut self, time: Duration, message: &Message, is_clients: bool) {
        self.count(is_clients, |counts| {
            counts.send_count += 1;
            counts.msg_count += 1;
        });
        if !is_clients {
            *self.kinds.entry(message.kind.clone()).or_default() += 1;
        }
        self.remember(time, message, MessageFate::Sent);
    }

    pub(super) fn received(&mut self, time: Duration, message: &Message, is_clients: bool) {
        self.count(is_clients, |counts| counts.recv_count += 1);
        self.remember(time, message, MessageFate::Received);
    }

    pub(super) fn lost(&mut self, time: Duration, message: &Message) {
        self.remember(time, message, MessageFate::Lost);
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    pub(super) fn of_kind(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn messages(&self) -> Vec<run::Message> {
        self.messages.clone()
    }

    fn count(&mut self, is_clients: bool, add: impl Fn(&mut Counts)) {
        let Traffic { all, clients, servers } = &mut self.traffic;
        add(all);
        add(if is_clients { clients } else { servers });
    }

    fn remember(&mut self, time: Duration, message: &Message, fate: MessageFate) {
        if self.messages.len() < self.remembered {
            let Message { id, src, dest, .. } = message;
            let (src, dest) = (src.clone(), dest.clone());
            self.messages.push(run::Message { id: *id, fate, time, src, dest, says: says(message) });
        }
    }
}

/// Fields that tell the most of a message.
const TELLING: [&str; 7] = ["key", "value", "from", "to", "echo", "message", "code"];
/// What is longer than this is not looked into, and not shown.
const SHORT: usize = 200;

/// A message in a few words: its type, and the fields that tell the most.
fn says(message: &Message) -> String {
    let mut says = message.kind.clone();
    if message.body.get().len() <= SHORT {
        let fields = message.fields();
        for value in TELLING.iter().filter_map(|field| fields.get(*field)) {
            says += &format!(" {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_in_a_few_words() {
        let table = [
            (r#"{"type":"cas","msg_id":7,"key":"k","from":1,"to":[2]}"#.to_owned(), "cas k 1 [2]"),
            (r#"{"type":"error","code":22,"text":"another value"}"#.to_owned(), "error 22"),
            (format!(r#"{{"type":"raft","value":"{}"}}"#, "x".repeat(500)), "raft"),
        ];
        for (body, expected) in table {
            let line = format!(r#"{{"src":"n1","dest":"n2","body":{body}}}"#);
            assert_eq!(says(&Message::parse(&line).unwrap()), expected);
        }
    }
}
