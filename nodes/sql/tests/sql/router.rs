//! A network of processes as a Maelstrom-style harness makes it: the nodes' lines are carried to whom they name, and those
//! between nodes may be lost, doubled, delayed and so overtaken; one that meets a partition when it arrives is dropped.
//!
//! What no harness would take from a node fails the test: a line that is no message, in another's name or to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};

/// Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of lines between nodes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) lost: f64,
    pub(crate) doubled: f64,
    pub(crate) delay_ms_max: u64,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Router(Arc<Mutex<State>>);

struct State {
    nodes: BTreeMap<String, Node>,
    random: SmallRng,
    weather: Weather,
    /// Nodes on either side of a partition cannot hear each other.
    apart: BTreeSet<String>,
    /// Clients that wait, by their names: each asks once.
    waiting: BTreeMap<String, oneshot::Sender<Value>>,
    clients: u64,
    /// How many lines of each type nodes have sent each other.
    sent: BTreeMap<String, u64>,
    /// What was wrong with nodes' lines.
    wrong: Vec<String>,
}

struct Node {
    program: &'static str,
    args: Vec<String>,
    input: Option<mpsc::UnboundedSender<String>>,
    process: Option<Child>,
}

impl Router {
    pub(crate) fn new(seed: u64) -> Router {
        println!("the network's seed is {seed}");
        Router(Arc::new(Mutex::new(State {
            nodes: BTreeMap::new(),
            random: SmallRng::seed_from_u64(seed),
            weather: Weather::default(),
            apart: BTreeSet::new(),
            waiting: BTreeMap::new(),
            clients: 0,
            sent: BTreeMap::new(),
            wrong: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panicked")
    }

    /// A node, which does not run yet.
    pub(crate) fn add(&self, name: &str, program: &'static str, args: &[&str]) {
        let args = args.iter().map(|word| (*word).to_owned()).collect();
        self.state().nodes.insert(name.to_owned(), Node { program, args, input: None, process: None });
    }

    /// Starts a node that does not run.
    pub(crate) fn start(&self, name: &str) {
        let (program, args) = {
            let state = self.state();
            let node = &state.nodes[name];
            (node.program, node.args.clone())
        };
        let mut process = Command::new(crate::binary(program))
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

    /// What a node has written.
    fn route(&self, from: &str, line: String) {
        let mut state = self.state();
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            return state.wrong.push(format!("{from} wrote no JSON: {line}"));
        };
        let (Some(dest), Some(kind)) = (message["dest"].as_str(), message["body"]["type"].as_str()) else {
            return state.wrong.push(format!("{from} wrote no message: {line}"));
        };
        if message["src"] != from {
            return state.wrong.push(format!("{from} wrote in another's name: {line}"));
        }
        if let Some(client) = state.waiting.remove(dest) {
            // Who has given up does not mind.
            let _ = client.send(message["body"].clone());
            return;
        }
        if !state.nodes.contains_key(dest) {
            if !dest.starts_with('c') {
                state.wrong.push(format!("{from} wrote to nobody: {line}"));
            }
            return;
        }
        *state.sent.entry(kind.to_owned()).or_default() += 1;
        for delay in state.fate() {
            let (router, from, dest, line) = (self.clone(), from.to_owned(), dest.to_owned(), format!("{line}\n"));
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let state = router.state();
                if state.apart.contains(&from) == state.apart.contains(&dest) {
                    state.give(&dest, line);
                }
            });
        }
    }

    /// Asks a node as a client that nobody else is.
    pub(crate) async fn ask(&self, node: &str, mut body: Value) -> Value {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.state();
            state.clients += 1;
            let client = format!("c{}", state.clients);
            body["msg_id"] = 1.into();
            state.give(node, format!("{}\n", json!({ "src": client, "dest": node, "body": body })));
            state.waiting.insert(client, sender);
        }
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.unwrap_or_else(|_| panic!("{node} does not answer {body}")).expect("the network goes on")
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Cuts `nodes` off from the others, and from no one else.
    pub(crate) fn part(&self, nodes: &[&str]) {
        self.state().apart = nodes.iter().map(|name| (*name).to_owned()).collect();
    }

    /// How many lines of a type nodes have sent each other.
    pub(crate) fn sent(&self, kind: &str) -> u64 {
        self.state().sent.get(kind).copied().unwrap_or_default()
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
    }

    /// Ends all nodes by the end of their inputs, and finds that nothing was wrong with what they said.
    pub(crate) async fn end(&self) {
        let ending = |node: &mut Node| node.input.take().and_then(|_| node.process.take());
        let processes: Vec<Child> = self.state().nodes.values_mut().filter_map(ending).collect();
        for mut process in processes {
            let status = tokio::time::timeout(PATIENCE, process.wait()).await.expect("it ends");
            assert!(status.expect("it can be waited for").success(), "a node ended badly");
        }
        assert_eq!(self.state().wrong, Vec::<String>::new());
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
