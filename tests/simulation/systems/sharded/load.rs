//! What clients do while things go wrong: random operations on a few keys, and appends to lists that are judged one by one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_harness::checker::Keyed;
use quorate_harness::checker::appends::{Append, Told};
use quorate_harness::history::History;
use quorate_harness::sim::Sim;
use quorate_statemachines::kv::{KvOp, Outcome};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json as value};

use super::outside::{Client, Ended, Outside, json};
use super::texts::{TextAnswer, TextOp};

/// The keys whose values change in all ways.
pub(super) const TEXTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// The keys that are appended to only.
pub(super) const LISTS: [&str; 3] = ["list-1", "list-2", "list-3"];

pub(super) type Seen = History<Keyed<TextOp>, TextAnswer>;

/// What all clients did, and were told.
#[derive(Clone)]
pub(super) struct Load {
    pub(super) seen: Seen,
    lists: Arc<Mutex<BTreeMap<&'static str, BTreeMap<Append, Told>>>>,
}

impl Load {
    pub(super) fn new(sim: &Sim) -> Load {
        Load { seen: sim.history(), lists: Arc::default() }
    }

    fn lists(&self) -> MutexGuard<'_, BTreeMap<&'static str, BTreeMap<Append, Told>>> {
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the clients of a list were told.
    pub(super) fn told(&self, list: &str) -> BTreeMap<Append, Told> {
        self.lists().get(list).cloned().unwrap_or_default()
    }

    /// One client at work until `length` has passed.
    pub(super) async fn run(&self, sim: &Sim, outside: &Outside, process: u64, operations: u64, length: Duration) {
        let client = Client::new(outside, &format!("client-{process}"));
        for number in 1..=operations {
            // Each has a generator of its own: leaving one out does not change the others.
            let mut random = sim.random("operation", process << 32 | number);
            sim.sleep(Duration::from_millis(random.random_range(0..2 * length.as_millis() as u64 / operations))).await;
            if sim.now() >= length {
                return;
            }
            if !sim.plan().keeps(process, number) {
                continue;
            }
            if random.random_range(0..4) == 0 {
                let list = LISTS[random.random_range(0..LISTS.len())];
                self.append(sim, &client, list, (process, number)).await;
            } else {
                let key = TEXTS[random.random_range(0..TEXTS.len())];
                let op = draw(&mut random, &format!("{process}.{number};"));
                self.operate(sim, &client, process, key, op).await;
            }
        }
    }

    async fn append(&self, sim: &Sim, client: &Client, list: &'static str, append: Append) {
        let text = format!("{}.{};", append.0, append.1);
        // Before it is sent: until there is an answer nobody knows.
        self.lists().entry(list).or_default().insert(append, Told::Unknown);
        let ticket = sim.invoke(append.0, "append", value!(list), value!(text), None);
        let told = match client.run(KvOp::Append { key: list.into(), value: json(&text) }).await {
            Ended::Done(Outcome::Appended) => {
                ticket.ok(value!(text));
                Told::Done
            }
            Ended::Done(other) => {
                sim.violate("an append appends", format!("{text} to {list}: {other:?}"));
                return;
            }
            Ended::Refused(error) => {
                ticket.fail(error);
                Told::Refused
            }
            Ended::Unknown(error) => {
                ticket.info(error);
                Told::Unknown
            }
        };
        self.lists().entry(list).or_default().insert(append, told);
    }

    async fn operate(&self, sim: &Sim, client: &Client, process: u64, key: &str, op: TextOp) {
        let name: Arc<str> = key.into();
        let (f, asked) = spelt(&op);
        let ticket = sim.invoke(process, f, value!(key), asked, None);
        let call = self.seen.invoke(process, Keyed::new(key, op.clone()));
        let operation = match op {
            TextOp::Get => {
                match client.get_soon(&name).await {
                    Ok(text) => {
                        ticket.ok(value!(text));
                        call.ok(TextAnswer::Value(text));
                    }
                    Err(error) => {
                        ticket.fail(error);
                        call.fail();
                    }
                }
                return;
            }
            TextOp::Put(text) => KvOp::Put { key: name, value: json(&text) },
            TextOp::Append(text) => KvOp::Append { key: name, value: json(&text) },
            TextOp::Delete => KvOp::Delete { key: name },
            TextOp::Cas { from, to } => {
                KvOp::Cas { key: name, from: json(&from), to: json(&to), create_if_not_exists: false }
            }
        };
        match client.run(operation).await {
            Ended::Done(outcome) => match answer(outcome) {
                Some(answer) => {
                    ticket.ok(value!(format!("{outcome:?}")));
                    call.ok(answer);
                }
                None => sim.violate("texts are appended to texts", format!("{key}: {outcome:?}")),
            },
            Ended::Refused(error) => {
                ticket.fail(error);
                call.fail();
            }
            Ended::Unknown(error) => {
                ticket.info(error);
                call.info();
            }
        }
    }

    /// Reads a key when all is well, as the last operation on it.
    pub(super) async fn read_at_last(
        &self,
        sim: &Sim,
        client: &Client,
        key: &str,
        timeout: Duration,
    ) -> Option<String> {
        let call = self.seen.invoke(0, Keyed::new(key, TextOp::Get));
        match client.get(&key.into(), timeout).await {
            Ok(text) => {
                call.ok(TextAnswer::Value(text.clone()));
                text
            }
            Err(error) => {
                call.fail();
                sim.violate("service resumes when all is well", format!("{key} cannot be read: {error}"));
                None
            }
        }
    }
}

fn draw(random: &mut SmallRng, text: &str) -> TextOp {
    match random.random_range(0..100) {
        0..45 => TextOp::Get,
        45..60 => TextOp::Put(text.to_owned()),
        60..80 => TextOp::Append(text.to_owned()),
        80..92 => {
            // Sometimes what a client may have put.
            let from = format!("{}.{};", random.random_range(1..=4), random.random_range(1..=20));
            TextOp::Cas { from, to: text.to_owned() }
        }
        _ => TextOp::Delete,
    }
}

fn spelt(op: &TextOp) -> (&'static str, Value) {
    match op {
        TextOp::Get => ("get", Value::Null),
        TextOp::Put(text) => ("put", value!(text)),
        TextOp::Append(text) => ("append", value!(text)),
        TextOp::Cas { from, to } => ("cas", value!([from, to])),
        TextOp::Delete => ("delete", Value::Null),
    }
}

fn answer(outcome: Outcome) -> Option<TextAnswer> {
    match outcome {
        Outcome::Put | Outcome::Appended | Outcome::Swapped => Some(TextAnswer::Done),
        Outcome::Deleted { existed } => Some(TextAnswer::Deleted { existed }),
        Outcome::Missing => Some(TextAnswer::Missing),
        Outcome::Different => Some(TextAnswer::Different),
        Outcome::NotAppendable => None,
    }
}
