//! The nodes of a cluster as processes on this machine, each with a directory and addresses of its own.
//!
//! Promises: whether a node runs or not, nobody else gets its ports; one that ends by itself is noticed.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use quorate_nodes::server::{NodeAddress, ServerConfig};

use crate::links::Links;
use crate::process::{Process, last_lines};

/// The number of the cluster.
const CLUSTER: u64 = 23;

/// Replicas compare their states so often: one that has parted ends, which is noticed.
const COMPARE_EVERY_S: u64 = 1;

/// A node, whether it runs or not.
struct Node {
    process: Option<Process>,
    client: SocketAddr,
    peer: SocketAddr,
    /// Where it listens for its peers, behind its proxy.
    listens: SocketAddr,
    /// By how much its clock is wrong when it starts.
    clock_offset_ms: i64,
    /// Whether it came to a cluster that was there.
    joins: bool,
    started: bool,
}

/// The nodes of a cluster.
pub(crate) struct Nodes {
    bin: PathBuf,
    dir: PathBuf,
    election_timeout_ms: u64,
    /// An address of this machine that nobody else uses: so a port is free while its node is dead.
    host: Ipv4Addr,
    nodes: BTreeMap<u64, Node>,
    /// What connects them.
    pub(crate) links: Links,
    /// What a node did that it must not do.
    pub(crate) wrongs: Vec<String>,
}

impl Nodes {
    /// Describes so many nodes of a new cluster, below `dir`. None runs.
    ///
    /// # Errors
    /// When the machine has no addresses for them, or files cannot be written.
    pub(crate) async fn describe(
        bin: &Path,
        dir: &Path,
        count: u64,
        election_timeout_ms: u64,
    ) -> anyhow::Result<Nodes> {
        let [a, b, c, ..] = rand::random::<[u8; 8]>();
        let host = Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254));
        let (bin, dir, links) = (bin.to_owned(), dir.to_owned(), Links::new());
        let mut nodes =
            Nodes { bin, dir, election_timeout_ms, host, nodes: BTreeMap::new(), links, wrongs: Vec::new() };
        for id in 1..=count {
            nodes.add(id, false).await?;
        }
        nodes.write(None, &nodes.config())?;
        Ok(nodes)
    }

    /// Describes one more, which is to join. Its file names all nodes that there are.
    ///
    /// # Errors
    /// As [`Nodes::describe`].
    pub(crate) async fn describe_another(&mut self, id: u64, controllers: Vec<u64>) -> anyhow::Result<()> {
        self.add(id, true).await?;
        self.write(Some(id), &ServerConfig { controllers, ..self.config() })
    }

    async fn add(&mut self, id: u64, joins: bool) -> anyhow::Result<()> {
        let port = |nth: u64| u16::try_from(7000 + 10 * id + nth).context("too many nodes");
        let at = |port: u16| SocketAddr::from((self.host, port));
        let (client, listens, peer) = (at(port(0)?), at(port(1)?), at(port(2)?));
        self.links.lead_to(id, peer, listens).await.with_context(|| format!("cannot listen at {peer}"))?;
        let node = Node { process: None, client, peer, listens, clock_offset_ms: 0, joins, started: false };
        self.nodes.insert(id, node);
        Ok(())
    }

    fn config(&self) -> ServerConfig {
        let named =
            |(id, node): (&u64, &Node)| NodeAddress { id: *id, peer: node.peer, client: node.client, http: None };
        ServerConfig {
            cluster: CLUSTER,
            compare_every_s: Some(COMPARE_EVERY_S),
            election_timeout_ms: Some(self.election_timeout_ms),
            nodes: self.nodes.iter().map(named).collect(),
            ..ServerConfig::default()
        }
    }

    /// The file of the first nodes, or of one that joins.
    fn file(&self, joining: Option<u64>) -> PathBuf {
        self.dir.join(joining.map_or_else(|| "quorate.toml".to_owned(), |id| format!("n{id}.toml")))
    }

    fn write(&self, joining: Option<u64>, config: &ServerConfig) -> anyhow::Result<()> {
        let path = self.file(joining);
        std::fs::write(&path, toml::to_string(config)?).with_context(|| path.display().to_string())
    }

    fn data(&self, id: u64) -> PathBuf {
        self.dir.join(format!("n{id}"))
    }

    fn log(&self, id: u64) -> PathBuf {
        self.dir.join(format!("n{id}.log"))
    }

    /// Starts a node that does not run.
    ///
    /// # Errors
    /// When its process cannot be started.
    pub(crate) fn start(&mut self, id: u64) -> anyhow::Result<()> {
        let (data, log) = (self.data(id), self.log(id));
        let node = self.nodes.get(&id).context("no such node")?;
        let file = self.file(node.joins.then_some(id));
        let mut args = ["server", "--until-input-ends", "--config"].map(str::to_owned).to_vec();
        args.extend([file.display().to_string(), "--data-dir".into(), data.display().to_string()]);
        args.extend(["--node".into(), id.to_string(), "--listen-peer".into(), node.listens.to_string()]);
        args.push(format!("--clock-offset-ms={}", node.clock_offset_ms));
        if !node.started {
            args.push(if node.joins { "--join" } else { "--init" }.into());
        }
        let process = Process::start(&self.bin, &args, &log)?;
        self.links.runs(process.pid(), id);
        if let Some(node) = self.nodes.get_mut(&id) {
            (node.process, node.started) = (Some(process), true);
        }
        Ok(())
    }

    fn take(&mut self, id: u64) -> Option<Process> {
        let process = self.nodes.get_mut(&id)?.process.take()?;
        self.links.ended(process.pid());
        Some(process)
    }

    /// SIGKILL to all of these at once; they are gone then.
    pub(crate) async fn kill(&mut self, ids: &[u64]) {
        let processes: Vec<Process> = ids.iter().filter_map(|id| self.take(*id)).collect();
        futures::future::join_all(processes.into_iter().map(Process::kill)).await;
    }

    /// Ends a node, dead or alive, and starts it.
    ///
    /// # Errors
    /// As [`Nodes::start`].
    pub(crate) async fn restart(&mut self, id: u64) -> anyhow::Result<()> {
        self.kill(&[id]).await;
        self.start(id)
    }

    /// Ends a node in good order. That it does not end so is noted.
    pub(crate) async fn terminate(&mut self, id: u64) {
        let Some(process) = self.take(id) else { return };
        match process.terminate().await {
            Ok(status) if status.success() => {}
            Ok(status) => {
                let said = last_lines(&self.log(id));
                self.wrongs.push(format!("n{id} was told to end and did so with {status}:\n  {said}"));
            }
            Err(error) => self.wrongs.push(format!("n{id} {error}")),
        }
    }

    /// Stops a node's process as it is.
    pub(crate) fn pause(&self, id: u64) {
        self.process(id).into_iter().for_each(Process::pause);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self, id: u64) {
        self.process(id).into_iter().for_each(Process::resume);
    }

    /// From now on no file of the node can grow beyond a little: its disk fails.
    pub(crate) fn break_disk(&self, id: u64) {
        self.process(id).into_iter().for_each(Process::break_disk);
    }

    /// Whether a node has ended by itself, and how.
    pub(crate) fn ended(&mut self, id: u64) -> Option<String> {
        let status = self.nodes.get_mut(&id)?.process.as_mut()?.ended()?;
        Some(format!("n{id} has ended by itself, with {status}:\n  {}", last_lines(&self.log(id))))
    }

    /// Starts those that have ended by themselves, and notes that.
    ///
    /// # Errors
    /// As [`Nodes::start`].
    pub(crate) fn attend(&mut self) -> anyhow::Result<()> {
        for id in self.ids() {
            if let Some(how) = self.ended(id) {
                self.wrongs.push(how);
                self.take(id);
                self.start(id)?;
            }
        }
        Ok(())
    }

    /// The last lines that a node has logged.
    pub(crate) fn last_lines(&self, id: u64) -> String {
        last_lines(&self.log(id))
    }

    fn process(&self, id: u64) -> Option<&Process> {
        self.nodes.get(&id)?.process.as_ref()
    }

    /// Sets a node's clock wrong, from its next start on.
    pub(crate) fn set_clock(&mut self, id: u64, offset_ms: i64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.clock_offset_ms = offset_ms;
        }
    }

    /// A node is no more, nor is what it kept.
    pub(crate) async fn forget(&mut self, id: u64) {
        self.kill(&[id]).await;
        self.nodes.remove(&id);
        // A directory that stays does no harm.
        let _ = std::fs::remove_dir_all(self.data(id));
    }

    /// The nodes, whether they run or not.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Where peers and clients find a node.
    pub(crate) fn addresses(&self, id: u64) -> Option<(SocketAddr, SocketAddr)> {
        self.nodes.get(&id).map(|node| (node.peer, node.client))
    }

    /// Where clients find the nodes.
    pub(crate) fn clients(&self) -> BTreeMap<u64, String> {
        self.nodes.iter().map(|(id, node)| (*id, node.client.to_string())).collect()
    }
}
