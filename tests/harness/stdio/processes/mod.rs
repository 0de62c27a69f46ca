//! The nodes: processes that are started, told who they are, killed, stopped for a while, and never left behind.
//!
//! Promises: when [`Nodes`] is dropped, every process of it is dead, with all that it has started; a process that ends by
//! itself raises the alarm; one that writes nonsense is warned of and not listened to any more.
//! Leaves out: when to kill whom, which is the nemesis's.

mod output;
mod process;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value;
use tokio::sync::Mutex;

pub use watch::{Trouble, Watch};

use process::Process;

use super::client::Client;
use super::message::Body;
use super::network::{Network, Standing};

/// How long a node may take to answer `init`.
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// What every node runs.
#[derive(Clone, Debug)]
pub struct Program {
    /// The executable.
    pub bin: PathBuf,
    /// What it is told. `{node}` stands for the node's name, `{nodes}` for all names with commas between, `{data}` for a
    /// directory of the node's own, which outlives its processes; a workload may know more of the kind.
    pub args: Vec<String>,
    /// Where the nodes' directories are.
    pub data: PathBuf,
    /// Where each node's standard error goes, to `<node>.log`.
    pub logs: PathBuf,
    /// Whether standard error is shown too.
    pub log_stderr: bool,
}

/// What one node is told.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    /// Its name.
    pub name: String,
    /// The `node_ids` of its `init`.
    pub node_ids: Vec<String>,
    /// What else is in its `init`.
    pub init: Body,
    /// What else stands for something in its arguments: `{group}`, say.
    pub placeholders: BTreeMap<&'static str, String>,
}

impl Seat {
    /// What a node is told that is one of these, which are all peers.
    pub fn among(names: &[String], name: &str) -> Seat {
        Seat { name: name.to_owned(), node_ids: names.to_vec(), ..Seat::default() }
    }
}

/// All nodes.
pub struct Nodes {
    network: Network,
    program: Program,
    watch: Watch,
    lives: BTreeMap<String, Mutex<Life>>,
}

/// A node, which may have one process after the other.
struct Life {
    seat: Seat,
    host: Client,
    process: Option<Process>,
}

impl Nodes {
    /// Seats the nodes in the network; none runs yet. Each gets a host, a client who will `init` it.
    pub fn new(
        network: &Network,
        program: Program,
        watch: Watch,
        seats: Vec<Seat>,
        mut host: impl FnMut() -> Client,
    ) -> Nodes {
        let mut lives = BTreeMap::new();
        for seat in seats {
            let host = host();
            network.add_node(&seat.name, host.name());
            lives.insert(seat.name.clone(), Mutex::new(Life { seat, host, process: None }));
        }
        Nodes { network: network.clone(), program, watch, lives }
    }

    /// Starts nodes that do not run, and waits until each has answered `init`.
    ///
    /// # Errors
    /// [`Trouble`] when one cannot be started, or does not answer in time.
    pub async fn start(&self, names: &[String]) -> Result<(), Trouble> {
        try_join_all(names.iter().map(|name| self.start_one(name))).await.map(drop)
    }

    /// Kills nodes with SIGKILL, and waits until they are gone.
    pub async fn kill(&self, names: &[String]) {
        for name in names {
            if let Some(life) = self.lives.get(name) {
                let mut life = life.lock().await;
                self.network.set_standing(name, Standing::Down);
                if let Some(mut process) = life.process.take() {
                    process.kill().await;
                }
            }
        }
    }

    /// Stops nodes as they are with SIGSTOP, until they are resumed or killed.
    pub async fn pause(&self, names: &[String]) {
        self.each_process(names, Process::pause).await;
    }

    /// Lets nodes that were paused go on.
    pub async fn resume(&self, names: &[String]) {
        self.each_process(names, Process::resume).await;
    }

    async fn each_process(&self, names: &[String], act: impl Fn(&Process)) {
        for name in names {
            // Whoever holds a life is just starting or killing it.
            if let Some(life) = self.lives.get(name)
                && let Some(process) = &life.lock().await.process
            {
                act(process);
            }
        }
    }

    async fn start_one(&self, name: &str) -> Result<(), Trouble> {
        let Some(life) = self.lives.get(name) else { return Ok(()) };
        let mut life = life.lock().await;
        if life.process.is_some() {
            return Ok(());
        }
        let Life { seat, host, process } = &mut *life;
        let nodes: Vec<&str> = self.lives.keys().map(String::as_str).collect();
        let args = self.program.args.iter().map(|arg| self.program.fill_in(arg, seat, &nodes.join(","))).collect();
        self.network.set_standing(name, Standing::Starting);
        *process = Some(Process::start(&self.program, name, args, &self.network, &self.watch)?);
        let mut init = seat.init.clone();
        init.insert("node_id".to_owned(), name.into());
        init.insert("node_ids".to_owned(), seat.node_ids.clone().into());
        let answer = host.ask_within(INIT_LIMIT, name, "init", Value::Object(init)).await;
        match answer {
            Ok(answer) if answer["type"] == "init_ok" => {
                self.network.set_standing(name, Standing::Up);
                Ok(())
            }
            Ok(answer) => Err(Trouble::NotInitialised { node: name.to_owned(), why: Value::Object(answer) }),
            Err(refusal) => Err(Trouble::NotInitialised { node: name.to_owned(), why: refusal.to_json() }),
        }
    }
}

impl Program {
    fn fill_in(&self, arg: &str, seat: &Seat, nodes: &str) -> String {
        let data = self.data.join(&seat.name);
        let filled =
            arg.replace("{node}", &seat.name).replace("{nodes}", nodes).replace("{data}", &data.to_string_lossy());
        let fill = |filled: String, (name, text): (&&str, &String)| filled.replace(&format!("{{{name}}}"), text);
        seat.placeholders.iter().fold(filled, fill)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_filled_in_for_each_node() {
        let program = Program {
            bin: "node".into(),
            args: Vec::new(),
            data: "/data".into(),
            logs: "/logs".into(),
            log_stderr: false,
        };
        let placeholders = BTreeMap::from([("group", "g2".to_owned())]);
        let seat = Seat { name: "n2".to_owned(), placeholders, ..Seat::default() };
        let fill = |arg| program.fill_in(arg, &seat, "n1,n2");
        assert_eq!(fill("--data-dir={data}/x"), "--data-dir=/data/n2/x");
        assert_eq!(fill("{node} of {nodes} in {group}"), "n2 of n1,n2 in g2");
        assert_eq!(fill("{else}"), "{else}");
    }
}
