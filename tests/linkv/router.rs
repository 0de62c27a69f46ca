//! A network of processes as a Maelstrom-style harness makes it: it starts the nodes, carries the lines that they write to
//! whom they name, and decides what becomes of those between nodes.
//!
//! Clients' lines are never lost. A line between nodes may be lost, doubled and delayed, so that lines overtake each other;
//! one that meets a partition when it arrives is dropped. A node may be killed and started again; in its place the router
//! answers clients: error 13 for what it was asked before it died, error 11 for what it was asked when it was dead.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, duplex};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use crate::cluster::Cluster;

/// What becomes of lines between nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: f64,
    pub(crate) doubled: f64,
    pub(crate) delay_ms_max: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Router(Arc<Shared>);

struct Shared {
    program: &'static str,
    state: Mutex<State>,
    /// Lines for clients.
    to_clients: mpsc::UnboundedSender<String>,
}

struct State {
    nodes: BTreeMap<String, Node>,
    random: SmallRng,
    weather: Weather,
    /// Nodes on either side of a partition cannot hear each other.
    apart: BTreeSet<String>,
    /// What clients were sent that answers nothing.
    told: Vec<Value>,
}

/// The binaries.
pub(crate) const REPLICA: &str = env!("CARGO_BIN_EXE_replica-process");
pub(crate) const SHARDKV: &str = env!("CARGO_BIN_EXE_shardkv-process");
pub(crate) const REPLICA_GROUP: &str = env!("CARGO_BIN_EXE_replica-group-process");
pub(crate) const MASTER: &str = env!("CARGO_BIN_EXE_master-process");

/// What a binary is told when it is started.
pub(crate) type Args = Vec<String>;

/// Words that are given at once.
pub(crate) fn args(words: &[&str]) -> Args {
    words.iter().map(|word| (*word).to_owned()).collect()
}

struct Node {
    args: Args,
    /// Missing once it was killed.
    input: Option<mpsc::UnboundedSender<String>>,
    /// What clients have asked and it has not answered: who, and the number.
    open: BTreeSet<(String, u64)>,
    /// Taken at the end.
    process: Option<Child>,
}

impl Router {
    /// Starts a process for each of `nodes`, and clients for all of them.
    pub(crate) fn start(
        program: &'static str,
        nodes: impl IntoIterator<Item = (&'static str, Args)>,
        random: SmallRng,
    ) -> (Router, Cluster) {
        let (to_clients, mut for_clients) = mpsc::unbounded_channel::<String>();
        let weather = Weather::default();
        let nodes = nodes
            .into_iter()
            .map(|(name, args)| (name.to_owned(), Node { args, input: None, open: BTreeSet::new(), process: None }));
        let state = State { nodes: nodes.collect(), random, weather, apart: BTreeSet::new(), told: Vec::new() };
        let names: Vec<String> = state.nodes.keys().cloned().collect();
        let router = Router(Arc::new(Shared { program, state: Mutex::new(state), to_clients }));
        names.iter().for_each(|name| router.start_node(name));
        let (input, requests) = duplex(64 * 1024);
        let (mut answers, output) = duplex(64 * 1024);
        tokio::spawn(async move {
            while let Some(line) = for_clients.recv().await {
                if answers.write_all(line.as_bytes()).await.is_err() {
                    return;
                }
            }
        });
        let serving = tokio::spawn(router.clone().serve(requests));
        (router, Cluster::over(input, output, serving))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("nobody panicked")
    }

    /// Starts a node that does not run.
    pub(crate) fn start_node(&self, name: &str) {
        let args = self.state().nodes.get(name).expect("a node").args.clone();
        let mut process = Command::new(self.0.program)
            .args(args)
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let stdin = process.stdin.take().expect("its input is piped");
        let stdout = process.stdout.take().expect("its output is piped");
        let (input, lines) = mpsc::unbounded_channel();
        if let Some(node) = self.state().nodes.get_mut(name) {
            (node.input, node.process) = (Some(input), Some(process));
        }
        tokio::spawn(feed(stdin, lines));
        let (router, name) = (self.clone(), name.to_owned());
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                router.route(&name, line);
            }
        });
    }

    /// What a node has written: strictly what the harness allows.
    fn route(&self, from: &str, line: String) {
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{from} wrote {line}: {error}"));
        assert_eq!(message["src"], from, "{line}");
        assert!(message["body"]["type"].is_string(), "{line}");
        let dest = message["dest"].as_str().unwrap_or_else(|| panic!("{from} wrote {line}")).to_owned();
        let line = format!("{line}\n");
        if !self.state().nodes.contains_key(&dest) {
            let Some(answered) = message["body"]["in_reply_to"].as_u64() else {
                assert_eq!(message["body"]["type"], "primary_changed", "neither for a node nor an answer: {line}");
                self.state().told.push(message);
                return;
            };
            // What a node said before it was killed may come when the router has answered in its place.
            if self.state().nodes.get_mut(from).is_some_and(|node| node.open.remove(&(dest, answered))) {
                let _ = self.0.to_clients.send(line);
            }
            return;
        }
        for delay in self.state().fate() {
            let (router, from, dest, line) = (self.clone(), from.to_owned(), dest.clone(), line.clone());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let state = router.state();
                if state.apart.contains(&from) == state.apart.contains(&dest) {
                    state.give(&dest, line);
                }
            });
        }
    }

    /// Carries clients' requests until there are no more, and ends the nodes well.
    async fn serve(self, requests: impl AsyncRead + Unpin) -> std::io::Result<()> {
        let mut lines = BufReader::new(requests).lines();
        while let Some(line) = lines.next_line().await? {
            let message: Value = serde_json::from_str(&line)?;
            let dest = message["dest"].as_str().expect("a request names its node");
            let asked = (message["src"].as_str().expect("a client").to_owned(), message["body"]["msg_id"].as_u64());
            let (src, msg_id) = (asked.0, asked.1.expect("a number"));
            let mut state = self.state();
            let node = state.nodes.get_mut(dest).expect("a node");
            if node.input.is_none() {
                self.answer_for(dest, &src, msg_id, 11);
            } else {
                node.open.insert((src, msg_id));
                state.give(dest, format!("{line}\n"));
            }
        }
        // The end of their inputs, unless they were killed.
        let ending = |node: &mut Node| node.input.take().and_then(|_| node.process.take());
        let processes: Vec<_> = self.state().nodes.values_mut().filter_map(ending).collect();
        for mut process in processes {
            let status = tokio::time::timeout(Duration::from_secs(30), process.wait()).await;
            assert!(status.expect("it ends")?.success(), "a node ended badly");
        }
        Ok(())
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// What clients were sent that answers nothing.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.state().told.clone()
    }

    /// Cuts `nodes` off from the others, and from no one else.
    pub(crate) fn part(&self, nodes: &[&str]) {
        self.state().apart = nodes.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Kills a node with SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&self, name: &str) {
        let mut process = {
            let mut state = self.state();
            let node = state.nodes.get_mut(name).expect("a node");
            node.input = None;
            node.process.take().expect("it runs")
        };
        process.kill().await.expect("it is killed");
        let open = std::mem::take(&mut self.state().nodes.get_mut(name).expect("a node").open);
        for (src, msg_id) in open {
            self.answer_for(name, &src, msg_id, 13);
        }
    }

    /// Answers a client in the place of a node that is dead.
    fn answer_for(&self, node: &str, client: &str, msg_id: u64, code: u64) {
        let body = json!({ "type": "error", "in_reply_to": msg_id, "code": code, "text": "the node is dead" });
        let _ = self.0.to_clients.send(format!("{}\n", json!({ "src": node, "dest": client, "body": body })));
    }
}

impl State {
    /// When copies of a line arrive, if any do.
    fn fate(&mut self) -> Vec<Duration> {
        let Weather { lost, doubled, delay_ms_max } = self.weather;
        let copies = if self.random.random_bool(lost) { 0 } else { 1 + usize::from(self.random.random_bool(doubled)) };
        (0..copies).map(|_| Duration::from_millis(self.random.random_range(0..=delay_ms_max))).collect()
    }

    fn give(&self, dest: &str, line: String) {
        if let Some(input) = self.nodes.get(dest).and_then(|node| node.input.as_ref()) {
            // A node that has died does not mind.
            let _ = input.send(line);
        }
    }
}

async fn feed(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}
