//! The nodes: processes that are started, told who they are, killed, stopped for a while, and never left behind.
//!
//! Promises: when [`Nodes`] is dropped, every process of it is dead, with all that it has started; a process that ends by
//! itself raises the alarm; one that writes nonsense, or in another's name, is warned of and not listened to any more.
//! Leaves out: when to kill whom, which is the nemesis's.

mod output;
mod process;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
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
    pub fn among<N: AsRef<str>>(names: &[N], name: &str) -> Seat {
        let node_ids = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Seat { name: name.to_owned(), node_ids, ..Seat::default() }
    }

    /// What each of these is told, which are all peers.
    pub fn peers<N: AsRef<str>>(names: &[N]) -> Vec<Seat> {
        names.iter().map(|name| Seat::among(names, name.as_ref())).collect()
    }
}

/// Nodes that run the same program. A network may have several such sets.
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
    pub async fn start<N: AsRef<str>>(&self, names: &[N]) -> Result<(), Trouble> {
        try_join_all(names.iter().map(|name| self.start_one(name.as_ref()))).await.map(drop)
    }

    /// Starts nodes that do not run, and leaves `init` to the clients: any of them may speak to such a node at once.
    ///
    /// # Errors
    /// [`Trouble`] when one cannot be started.
    pub async fn launch<N: AsRef<str>>(&self, names: &[N]) -> Result<(), Trouble> {
        for name in names {
            if let Some(life) = self.lives.get(name.as_ref()) {
                self.begin(&mut *life.lock().await, Standing::Up)?;
            }
        }
        Ok(())
    }

    /// Ends the inputs of all nodes that run, and waits for each to end by that and with success. Those that do not end in
    /// time are killed. What is on its way to a node then is lost, and clients are told that it is down; what it still has
    /// to say is heard.
    ///
    /// # Errors
    /// [`Trouble`] when one has ended badly, or not in time: that of the first of them by name.
    pub async fn end(&self, limit: Duration) -> Result<(), Trouble> {
        let ends = self.lives.iter().map(|(name, life)| async move {
            let mut life = life.lock().await;
            self.network.set_standing(name, Standing::Down);
            match life.process.take() {
                Some(process) => process.end(name, limit).await,
                None => Ok(()),
            }
        });
        join_all(ends).await.into_iter().collect()
    }

    /// Kills nodes with SIGKILL, and waits until they are gone.
    pub async fn kill<N: AsRef<str>>(&self, names: &[N]) {
        for name in names.iter().map(AsRef::as_ref) {
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
    pub async fn pause<N: AsRef<str>>(&self, names: &[N]) {
        self.each_process(names, Process::pause).await;
    }

    /// Lets nodes that were paused go on.
    pub async fn resume<N: AsRef<str>>(&self, names: &[N]) {
        self.each_process(names, Process::resume).await;
    }

    async fn each_process<N: AsRef<str>>(&self, names: &[N], act: impl Fn(&Process)) {
        for name in names {
            // Whoever holds a life is just starting or killing it.
            if let Some(life) = self.lives.get(name.as_ref())
                && let Some(process) = &life.lock().await.process
            {
                act(process);
            }
        }
    }

    async fn start_one(&self, name: &str) -> Result<(), Trouble> {
        let Some(life) = self.lives.get(name) else { return Ok(()) };
        let mut life = life.lock().await;
        if !self.begin(&mut life, Standing::Starting)? {
            return Ok(());
        }
        let Life { seat, host, .. } = &mut *life;
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

    /// Starts the process of a node; false if it has one.
    fn begin(&self, life: &mut Life, standing: Standing) -> Result<bool, Trouble> {
        let Life { seat, process, .. } = life;
        if process.is_some() {
            return Ok(false);
        }
        let nodes: Vec<&str> = self.lives.keys().map(String::as_str).collect();
        let args = self.program.args.iter().map(|arg| self.program.fill_in(arg, seat, &nodes.join(","))).collect();
        self.network.set_standing(&seat.name, standing);
        *process = Some(Process::start(&self.program, &seat.name, args, &self.network, &self.watch)?);
        Ok(true)
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
mod tests;
