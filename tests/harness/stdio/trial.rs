//! Nodes as processes, their network and their clients, for a test that says itself, step by step, what happens.
//!
//! Promises: whatever no harness would take from a node fails the test: that it ends by itself, ends badly, or writes a line
//! that is no message, in another's name, or to nobody. Neither processes nor directories are left.
//! Leaves out: what is asked, and how answers are judged; faults that come by themselves ([`runner`](super::runner)).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use super::client::Client;
use super::errors::Refusal;
use super::message::{Body, Message};
use super::network::{Network, Weather};
use super::processes::{Nodes, Program, Seat, Trouble, Watch};

/// How long an answer is waited for, and the end of a node: only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// A test of nodes. Its methods panic when something is wrong with a node.
///
/// ```no_run
/// use quorate_harness::stdio::processes::Seat;
/// use quorate_harness::stdio::trial::Trial;
/// use serde_json::json;
///
/// # async fn test() {
/// let names = ["n1", "n2", "n3"];
/// let trial = Trial::new(7).with("target/debug/replica", &["--distributed"], Seat::peers(&names));
/// trial.network().set_weather(|weather| weather.lost = 0.05);
/// trial.start(&names).await;
/// trial.network().cut_off(&["n1"]);
/// let answer = trial.ask("c1", "n2", "write", json!({ "key": 1, "value": 2 })).await;
/// assert_eq!(answer["type"], "write_ok");
/// trial.end().await;
/// # }
/// ```
pub struct Trial {
    network: Network,
    watch: Watch,
    /// Those of each program.
    nodes: Vec<Nodes>,
    hosts: usize,
    clients: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Client>>>>,
    // The last to be dropped: processes are at work in it.
    dir: tempfile::TempDir,
}

impl Trial {
    /// A trial without nodes, in good weather. The seed decides what becomes of messages.
    ///
    /// # Panics
    /// When there is no place for its directory.
    pub fn new(seed: u64) -> Trial {
        Trial {
            network: Network::new(Weather::default(), seed, 0),
            watch: Watch::new(|text| println!("{text}")).strict(),
            nodes: Vec::new(),
            hosts: 0,
            clients: Mutex::default(),
            dir: tempfile::tempdir().expect("a directory for the nodes"),
        }
    }

    /// The same with nodes that run a program; none runs yet. [`Program`] says what stands for what in the arguments.
    pub fn with(mut self, bin: impl Into<PathBuf>, args: &[&str], seats: Vec<Seat>) -> Trial {
        let program = Program {
            bin: bin.into(),
            args: args.iter().map(ToString::to_string).collect(),
            data: self.dir.path().join("data"),
            logs: self.dir.path().join("logs"),
            log_stderr: true,
        };
        let host = || {
            self.hosts += 1;
            Client::new(&self.network, format!("host{}", self.hosts), PATIENCE)
        };
        self.nodes.push(Nodes::new(&self.network, program, self.watch.clone(), seats, host));
        self
    }

    /// The network, to make its weather and to cut it.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Starts nodes that do not run, and waits until each has answered `init`.
    ///
    /// # Panics
    /// When one cannot be started, or does not answer.
    pub async fn start(&self, names: &[&str]) {
        for nodes in &self.nodes {
            fine(nodes.start(names).await);
        }
    }

    /// Starts nodes that do not run, and leaves `init` to the test.
    ///
    /// # Panics
    /// When one cannot be started.
    pub async fn launch(&self, names: &[&str]) {
        for nodes in &self.nodes {
            fine(nodes.launch(names).await);
        }
    }

    /// Kills nodes with SIGKILL, and waits until they are gone.
    pub async fn kill(&self, names: &[&str]) {
        for nodes in &self.nodes {
            nodes.kill(names).await;
        }
    }

    /// Asks a node as the client of this name, who asks one thing at a time. The answer may be an error, which is also said
    /// in the place of a node that is down (11), or is killed with the request (13).
    ///
    /// # Panics
    /// When there is no answer, or one that is neither to that nor an error; and when anything is wrong with any node.
    pub async fn ask(&self, client: &str, node: &str, kind: &str, fields: Value) -> Body {
        let client = self.client(client);
        let mut client = client.lock().await;
        let answer = tokio::select! {
            biased;
            trouble = self.watch.raised() => panic!("{trouble}"),
            answer = client.ask(node, kind, fields) => answer,
        };
        match answer {
            Ok(body) => body,
            Err(Refusal::Timeout) => panic!("{node} does not answer {kind}"),
            Err(refusal) => {
                let body = refusal.into_body();
                assert_eq!(body.get("type").and_then(Value::as_str), Some("error"), "{kind}: {body:?}");
                body
            }
        }
    }

    /// Ends all nodes that run by the end of their inputs. What clients were told without having asked comes back, by their
    /// names and in its order.
    ///
    /// # Panics
    /// When one ends badly or not at all, and when anything was wrong with any node.
    pub async fn end(&self) -> Vec<Message> {
        join_all(self.nodes.iter().map(|nodes| nodes.end(PATIENCE))).await.into_iter().for_each(fine);
        fine(self.watch.trouble().map_or(Ok(()), Err));
        let clients: Vec<_> = self.clients.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        join_all(clients.iter().map(|client| async move { client.lock().await.take_told() })).await.concat()
    }

    fn client(&self, name: &str) -> Arc<tokio::sync::Mutex<Client>> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(tokio::sync::Mutex::new(Client::new(&self.network, name, PATIENCE)));
        Arc::clone(clients.entry(name.to_owned()).or_insert_with(new))
    }
}

fn fine(done: Result<(), Trouble>) {
    done.unwrap_or_else(|trouble| panic!("{trouble}"));
}
