//! The network between nodes and clients: who hears whom, when, and whether at all.
//!
//! Promises: what a client says or is told arrives at once, if its node runs; what nodes say to each other arrives after a
//! latency of its own, so that messages overtake each other, unless it is lost or meets a cut when it arrives.
//! Leaves out: what is said.

mod cuts;
mod inbox;
mod journal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

pub use cuts::{Cuts, Split};
pub use journal::{Counts, Traffic};

use inbox::Inbox;
use journal::Journal;

use super::latency::Latency;
use super::message::Message;
use crate::run;

/// What becomes of messages between nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// How long they take.
    pub latency: Latency,
    /// The part of them that is lost.
    pub lost: f64,
    /// The part of them that arrives twice.
    pub doubled: f64,
}

/// Whether a node takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not run: what is sent to it is lost.
    Down,
    /// It runs, and only this client may speak to it yet (and other nodes).
    Starting,
    /// It runs.
    Up,
}

/// What reaches a client.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message.
    Message(Message),
    /// The node that it asked does not run, and never got the request.
    Down,
    /// The node that it asked was killed when it had the request.
    Died,
}

/// A name that the network does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no node or client {0:?}")]
pub struct UnknownName(pub String);

/// The network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    began: Instant,
    nodes: BTreeMap<String, Seat>,
    clients: BTreeMap<String, mpsc::UnboundedSender<Arrival>>,
    /// What each client waits for.
    asked: BTreeMap<String, Asked>,
    weather: Weather,
    cuts: Cuts,
    random: SmallRng,
    journal: Journal,
    messages: u64,
}

/// A node's place in the network.
struct Seat {
    standing: Standing,
    /// Who may speak to it while it starts.
    host: String,
    inbox: Inbox,
    bell: Arc<Notify>,
}

struct Asked {
    node: String,
    msg_id: u64,
    delivered: bool,
}

impl Network {
    /// A network that begins now, with nobody in it. It remembers the first `remembered` things that happen to messages.
    pub fn new(weather: Weather, seed: u64, remembered: usize) -> Network {
        Network(Arc::new(Mutex::new(State {
            began: Instant::now(),
            nodes: BTreeMap::new(),
            clients: BTreeMap::new(),
            asked: BTreeMap::new(),
            weather,
            cuts: Cuts::default(),
            random: SmallRng::seed_from_u64(seed),
            journal: Journal::new(remembered),
            messages: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time since it began.
    pub fn now(&self) -> Duration {
        self.state().began.elapsed()
    }

    /// Seats a node, which does not run yet. While it starts, only the client `host` may speak to it.
    pub fn add_node(&self, name: &str, host: &str) {
        let seat =
            Seat { standing: Standing::Down, host: host.to_owned(), inbox: Inbox::default(), bell: Arc::default() };
        self.state().nodes.insert(name.to_owned(), seat);
    }

    /// Seats a client.
    pub(super) fn add_client(&self, name: &str) -> mpsc::UnboundedReceiver<Arrival> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state().clients.insert(name.to_owned(), sender);
        receiver
    }

    /// Says whether a node takes messages. What is on its way to one that is down is lost.
    pub fn set_standing(&self, node: &str, standing: Standing) {
        let mut state = self.state();
        let Some(seat) = state.nodes.get_mut(node) else { return };
        seat.standing = standing;
        if standing == Standing::Down {
            let lost = seat.inbox.drain();
            for message in lost {
                state.lose(&message);
            }
            state.refuse_all(node);
        }
    }

    /// Changes what becomes of messages from now on.
    pub fn set_weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.state().weather);
    }

    /// Cuts connections between nodes, in place of those that were cut before.
    pub fn cut(&self, cuts: Cuts) {
        self.state().cuts = cuts;
    }

    /// Cuts these nodes off from all others, in place of what was cut before. Among themselves they hear each other.
    pub fn cut_off(&self, nodes: &[&str]) {
        let mut state = self.state();
        let names = state.nodes.keys().cloned();
        let (some, others): (Vec<_>, Vec<_>) = names.partition(|name| nodes.contains(&name.as_str()));
        state.cuts = Cuts::between((&some, &others));
    }

    /// A client waits for the answer to a request, or for none.
    pub(super) fn expect(&self, client: &str, request: Option<(&str, u64)>) {
        let mut state = self.state();
        match request {
            Some((node, msg_id)) => {
                state.asked.insert(client.to_owned(), Asked { node: node.to_owned(), msg_id, delivered: false });
            }
            None => {
                state.asked.remove(client);
            }
        }
    }

    /// Takes a message on its way.
    ///
    /// # Errors
    /// [`UnknownName`] when its sender or its receiver is nobody.
    pub fn send(&self, mut message: Message) -> Result<(), UnknownName> {
        let mut state = self.state();
        for name in [&message.src, &message.dest] {
            if !state.nodes.contains_key(name) && !state.clients.contains_key(name) {
                return Err(UnknownName(name.clone()));
            }
        }
        message.id = state.messages;
        state.messages += 1;
        let (from_client, to_client) =
            (state.clients.contains_key(&message.src), state.clients.contains_key(&message.dest));
        let now = state.began.elapsed();
        state.journal.sent(now, &message, from_client || to_client);
        if to_client {
            state.journal.received(now, &message, true);
            if let Some(client) = state.clients.get(&message.dest) {
                // A client that is gone has no use for it.
                let _ = client.send(Arrival::Message(message));
            }
        } else if from_client {
            state.send_at_once(message);
        } else {
            state.send_some_time(message);
        }
        Ok(())
    }

    /// Waits for the next message that reaches a node; `None` if there is no such node.
    pub async fn receive(&self, node: &str) -> Option<Message> {
        loop {
            let (bell, due) = {
                let mut state = self.state();
                let now = Instant::now();
                while let Some(message) = state.nodes.get_mut(node)?.inbox.take_due(now) {
                    if state.arrives(&message) {
                        return Some(message);
                    }
                }
                let seat = state.nodes.get(node)?;
                (Arc::clone(&seat.bell), seat.inbox.next_due())
            };
            match due {
                // The bell keeps a ring that nobody waits for.
                Some(due) => drop(tokio::time::timeout_at(due, bell.notified()).await),
                None => bell.notified().await,
            }
        }
    }

    /// What was said, in numbers.
    pub fn traffic(&self) -> Traffic {
        self.state().journal.traffic()
    }

    /// How many messages of a type nodes have sent each other.
    pub fn sent(&self, kind: &str) -> u64 {
        self.state().journal.of_kind(kind)
    }

    /// What was said, as far as it is remembered.
    pub fn messages(&self) -> Vec<run::Message> {
        self.state().journal.messages()
    }
}

impl State {
    /// From a client to a node.
    fn send_at_once(&mut self, message: Message) {
        let Some(seat) = self.nodes.get_mut(&message.dest) else {
            // From a client to a client.
            return;
        };
        let is_open = match seat.standing {
            Standing::Up => true,
            Standing::Starting => seat.host == message.src,
            Standing::Down => false,
        };
        if is_open {
            seat.inbox.put(Instant::now(), message);
            seat.bell.notify_one();
            return;
        }
        self.lose(&message);
        if let Some(client) = self.clients.get(&message.src) {
            let _ = client.send(Arrival::Down);
        }
    }

    /// From a node to a node.
    fn send_some_time(&mut self, message: Message) {
        let Weather { latency, lost, doubled } = self.weather;
        if lost > 0.0 && self.random.random_bool(lost.min(1.0)) {
            self.lose(&message);
            return;
        }
        let copies = 1 + usize::from(doubled > 0.0 && self.random.random_bool(doubled.min(1.0)));
        for _ in 0..copies {
            let due = Instant::now() + latency.sample(&mut self.random);
            match self.nodes.get_mut(&message.dest) {
                Some(seat) if seat.standing != Standing::Down => {
                    seat.inbox.put(due, message.clone());
                    seat.bell.notify_one();
                }
                _ => self.lose(&message),
            }
        }
    }

    /// Whether a message that has come to a node is heard. A cut stops also what was said before it.
    fn arrives(&mut self, message: &Message) -> bool {
        let is_clients = self.clients.contains_key(&message.src);
        if !is_clients && self.cuts.are_cut(&message.src, &message.dest) {
            self.lose(message);
            return false;
        }
        let now = self.began.elapsed();
        self.journal.received(now, message, is_clients);
        if let Some(asked) = self.asked.get_mut(&message.src)
            && Some(asked.msg_id) == message.msg_id
        {
            asked.delivered = true;
        }
        true
    }

    fn lose(&mut self, message: &Message) {
        let now = self.began.elapsed();
        self.journal.lost(now, message);
    }

    /// Tells those who wait for an answer of a node that has died.
    fn refuse_all(&mut self, node: &str) {
        for (client, asked) in self.asked.iter().filter(|(_, asked)| asked.node == node) {
            if let Some(client) = self.clients.get(client) {
                let _ = client.send(if asked.delivered { Arrival::Died } else { Arrival::Down });
            }
        }
        self.asked.retain(|_, asked| asked.node != node);
    }
}

#[cfg(test)]
mod tests;
