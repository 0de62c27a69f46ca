//! `quorate up`: a whole cluster on this machine, each node a server process with a directory of its own.
//!
//! Promises: what was acknowledged is there when the cluster is started again on the same directory; a node that dies is
//! started again; when this process ends, however it ends, so do the nodes.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use quorate::env::{Env, RealEnv};
use quorate::fs::RealFs;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tonic::transport::Endpoint;

use crate::backup::restore_node;
use crate::server::proto::quorate_client::QuorateClient;
use crate::server::proto::{ConfigurationRequest, Group, JoinRequest};
use crate::server::{GroupConfig, MastersConfig, NodeAddress, ServerConfig, TABLES, claim};

const CONFIG: &str = "quorate.toml";

/// How long a new cluster may take until it serves.
const READY: Duration = Duration::from_secs(60);

/// How long a node may take to end.
const ENDING: Duration = Duration::from_secs(15);

/// The pause before a node that died is started again.
const AGAIN: Duration = Duration::from_millis(500);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// `quorate up`'s flags.
#[derive(Args, Clone, Debug)]
pub struct UpFlags {
    /// Where the cluster is kept. What is there is started again; what is not is made.
    #[arg(long, default_value = "quorate-data")]
    dir: PathBuf,
    /// How many nodes a new cluster has.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// How many shard groups a new cluster has, each on three of the nodes.
    #[arg(long, default_value_t = 2)]
    groups: u64,
    /// How many of a new cluster's nodes are masters, the first ones.
    #[arg(long, default_value_t = 0)]
    masters: u64,
    /// How many groups of shards of tables a new cluster has, `s1` and so on, each on three of the nodes: for SQL.
    #[arg(long, default_value_t = 0)]
    tables: u64,
    /// How many shards a new cluster has.
    #[arg(long, default_value_t = 16)]
    shards: u32,
    /// Clients of a new cluster's first node are answered here, of the next one at the next port, and so on; peers a
    /// hundred ports further, operators two hundred.
    #[arg(long, default_value_t = 7001)]
    port: u16,
    /// A new cluster is made of a backup (`quorate ctl backup`), and has its groups and shards. It needs all of its nodes (`--nodes`)
    /// and tables (`--tables`).
    #[arg(long)]
    from: Option<PathBuf>,
    /// A node that dies stays dead.
    #[arg(long)]
    no_restart: bool,
}

/// A node's process.
struct Node {
    address: NodeAddress,
    child: Option<Child>,
}

impl UpFlags {
    /// A new cluster to be measured: one group on three nodes, which stay dead if they die.
    pub(crate) fn bench(dir: PathBuf, port: u16) -> Self {
        UpFlags { dir, nodes: 3, groups: 1, masters: 0, tables: 0, shards: 16, port, from: None, no_restart: true }
    }
}

/// A cluster of processes on this machine.
pub(crate) struct Local {
    dir: PathBuf,
    nodes: Vec<Node>,
    /// Whether there are tables.
    tables: bool,
}

impl Local {
    /// Starts all nodes, and waits until they serve.
    ///
    /// # Errors
    /// When the cluster cannot be made, or does not serve.
    pub(crate) async fn start(flags: &UpFlags) -> anyhow::Result<Local> {
        let path = flags.dir.join(CONFIG);
        let config = match path.exists() {
            true => read(&path)?,
            false => make(flags, &path).await?,
        };
        let tables = config.groups.iter().any(|group| group.machine == TABLES);
        let mut local = Local { dir: flags.dir.clone(), nodes: Vec::new(), tables };
        for address in &config.nodes {
            local.nodes.push(Node { address: address.clone(), child: Some(start(&flags.dir, address)?) });
        }
        tokio::select! {
            ready = ready(flags, &config) => ready?,
            died = died(&mut local.nodes) => {
                let (node, status) = died;
                let log = log_of(&local.dir, node);
                bail!("node {node} ended ({status}); {} says why", log.display());
            }
        }
        Ok(local)
    }

    /// Where clients are answered.
    pub(crate) fn servers(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.address.client.to_string()).collect()
    }

    /// The processes that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().filter_map(|node| node.child.as_ref()?.id()).collect()
    }

    /// Says who dies, and starts it again; for ever.
    async fn watch(&mut self, restart: bool) -> anyhow::Result<()> {
        loop {
            let (id, status) = died(&mut self.nodes).await;
            if !restart {
                println!("node {id} ended: {status}");
                continue;
            }
            println!("node {id} ended: {status}; it is started again");
            tokio::time::sleep(AGAIN).await;
            for node in self.nodes.iter_mut().filter(|node| node.address.id == id) {
                node.child = Some(start(&self.dir, &node.address)?);
                println!("node {id}: process {}", pid(node));
            }
        }
    }

    fn show(&self) {
        println!("a cluster of {} nodes in {}; Ctrl-C ends it", self.nodes.len(), self.dir.display());
        for node in &self.nodes {
            let NodeAddress { id, client, http, .. } = &node.address;
            let http = http.map(|http| format!(", http://{http}/ for operators")).unwrap_or_default();
            println!("node {id}: clients at {client}{http}, process {}", pid(node));
        }
        let servers = self.servers().join(",");
        println!("try: quorate ctl --servers {servers} status");
        if self.tables {
            println!("try: quorate-sql --servers {servers} query \"CREATE TABLE t (id INT PRIMARY KEY, name TEXT)\"");
        }
    }

    /// Ends all nodes in good order; one that takes too long is killed.
    pub(crate) async fn end(mut self) {
        for node in &mut self.nodes {
            // Its input ends, and so does it.
            drop(node.child.as_mut().and_then(|child| child.stdin.take()));
        }
        let deadline = Instant::now() + ENDING;
        for node in &mut self.nodes {
            let Some(child) = &mut node.child else { continue };
            if tokio::time::timeout_at(deadline, child.wait()).await.is_err() {
                println!("node {} takes too long and is killed", node.address.id);
                // It may have ended by itself just now.
                let _ = child.kill().await;
            }
        }
    }
}

/// Runs a cluster until a signal.
///
/// # Errors
/// When it cannot be made, or does not serve.
pub async fn run(flags: &UpFlags) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Before it serves there is nothing to hand over: a signal kills its nodes.
    let mut local = tokio::select! {
        local = Local::start(flags) => local?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    local.show();
    let result: anyhow::Result<()> = tokio::select! {
        result = local.watch(!flags.no_restart) => result,
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    println!("ending");
    local.end().await;
    result
}

fn read(path: &Path) -> anyhow::Result<ServerConfig> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

/// Describes a new cluster.
async fn make(flags: &UpFlags, path: &Path) -> anyhow::Result<ServerConfig> {
    ensure!((1..=99).contains(&flags.nodes), "a cluster here has 1 to 99 nodes");
    ensure!(flags.groups >= 1, "a cluster needs a group");
    ensure!(flags.masters <= flags.nodes, "{} masters need as many nodes", flags.masters);
    let last = u64::from(flags.port) + 200 + flags.nodes;
    ensure!(last <= u64::from(u16::MAX), "there are no ports from {} on for {} nodes", flags.port, flags.nodes);
    let at = |offset: u64, nth: u64| {
        // Checked above: it fits.
        let port = u16::try_from(u64::from(flags.port) + offset + nth).unwrap_or(u16::MAX);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let ids: Vec<u64> = (1..=flags.nodes).collect();
    let node = |nth| NodeAddress { id: nth + 1, client: at(0, nth), peer: at(100, nth), http: Some(at(200, nth)) };
    let config = ServerConfig {
        // TOML's numbers have a sign.
        cluster: RealEnv.random() >> 1,
        masters: (flags.masters > 0)
            .then(|| MastersConfig { nodes: (1..=flags.masters).collect(), ..Default::default() }),
        groups: (0..flags.tables).map(|nth| tables(nth, &ids)).collect(),
        nodes: (0..flags.nodes).map(node).collect(),
        ..ServerConfig::default()
    };
    std::fs::create_dir_all(&flags.dir).with_context(|| format!("cannot make {}", flags.dir.display()))?;
    // Here and never again: a node whose directory is gone has lost its disk, and is not to be taken for a new one.
    for node in &config.nodes {
        if let Some(backup) = &flags.from {
            restore_node(backup, &config, node.id, &data_dir(&flags.dir, node.id)).await?;
            continue;
        }
        claim(&RealFs, &data_dir(&flags.dir, node.id), config.cluster, node.id, true)?;
    }
    std::fs::write(path, toml::to_string(&config)?).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(config)
}

/// The nodes of the nth group: three, if there are so many.
fn three(nth: u64, ids: &[u64]) -> Vec<u64> {
    let skip = usize::try_from(nth).unwrap_or_default() % ids.len();
    ids.iter().cycle().skip(skip).take(ids.len().min(3)).copied().collect()
}

/// The nth group of shards of tables.
fn tables(nth: u64, ids: &[u64]) -> GroupConfig {
    GroupConfig { name: format!("s{}", nth + 1), machine: TABLES.to_owned(), nodes: three(nth, ids) }
}

fn data_dir(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("n{node}"))
}

fn log_of(dir: &Path, node: u64) -> PathBuf {
    dir.join(format!("n{node}.log"))
}

/// Starts a node's process; what it says goes to a file beside its directory.
fn start(dir: &Path, address: &NodeAddress) -> anyhow::Result<Child> {
    let (data, log) = (data_dir(dir, address.id), log_of(dir, address.id));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&log);
    let log = log.context("cannot open a node's log")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("server").arg("--config").arg(dir.join(CONFIG)).arg("--node").arg(address.id.to_string());
    command.arg("--data-dir").arg(&data).arg("--until-input-ends");
    // The input ends when this process does, whatever ends it. A group of its own: Ctrl-C is for this process alone.
    command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
    command.spawn().context("cannot start a node")
}

fn pid(node: &Node) -> String {
    node.child.as_ref().and_then(Child::id).map_or_else(|| "none".to_owned(), |pid| pid.to_string())
}

/// Waits until some node's process has ended, and says which, and how.
async fn died(nodes: &mut [Node]) -> (u64, ExitStatus) {
    loop {
        for node in nodes.iter_mut() {
            if let Some(child) = &mut node.child
                && let Ok(Some(status)) = child.try_wait()
            {
                node.child = None;
                return (node.address.id, status);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until every node serves; gives a new cluster its groups.
async fn ready(flags: &UpFlags, config: &ServerConfig) -> anyhow::Result<()> {
    let deadline = Instant::now() + READY;
    for address in &config.nodes {
        node_ready(flags, config, address, deadline).await?;
    }
    Ok(())
}

/// Waits until a node knows of groups; proposes them where nobody did.
async fn node_ready(
    flags: &UpFlags,
    config: &ServerConfig,
    address: &NodeAddress,
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut client = QuorateClient::new(Endpoint::from_shared(format!("http://{}", address.client))?.connect_lazy());
    loop {
        let found = match client.configuration(ConfigurationRequest {}).await {
            Ok(found) => found.into_inner(),
            Err(status) => {
                ensure!(Instant::now() < deadline, "the cluster does not answer: {}", status.message());
                tokio::time::sleep(LOOK).await;
                continue;
            }
        };
        if found.number > 0 {
            return Ok(());
        }
        let ids: Vec<u64> = config.nodes.iter().map(|node| node.id).collect();
        let groups = (0..flags.groups).map(|nth| Group { name: format!("g{}", nth + 1), nodes: three(nth, &ids) });
        let join = JoinRequest { groups: groups.collect(), shards: flags.shards };
        // Whether it was made or not, the next look shows it.
        if let Err(status) = client.join(join).await {
            ensure!(Instant::now() < deadline, "the cluster takes no groups: {}", status.message());
            tokio::time::sleep(LOOK).await;
        }
    }
}
