//! What a server is told: a file that all nodes of a cluster can share, and flags that say which of them this one is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use quorate::types::ClusterId;
use quorate::{GroupOptions, NodeId};
use quorate_statemachines::configlog::{Book, NodeAddresses};
use serde::{Deserialize, Serialize};

use super::machines::GroupConfig;
use super::masters::MastersConfig;
use super::trust::ClientsTls;

/// How many nodes replicate the configuration log if the file does not say.
const CONTROLLERS: usize = 3;

/// Processes that share machines and disks with others are late more often than replicas within one process, for which
/// [`GroupOptions`] has its defaults.
const ELECTION_TIMEOUT_MS: u64 = 300;

/// The shortest: heartbeats are six to one of it, and the network needs some of that.
const ELECTION_TIMEOUT_MS_MIN: u64 = 30;

/// Often enough that a replica which has parted is found before many of its snapshots are made.
const COMPARE_EVERY_S: u64 = 3600;

/// A cluster, and which node of it this process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The cluster's number: nodes of another one are refused.
    pub cluster: u64,
    /// This node; a flag may say it in place of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// Where this node keeps everything; a flag may say it in place of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// The nodes that replicate the configuration log when the cluster begins; the first three when it is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<u64>,
    /// A leader that was not heard of for so many milliseconds, or half of that, by each follower's own choice, is replaced. 300
    /// when it is missing. All nodes are to have the same; half of it is to be three of the disk's slowest syncs or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub election_timeout_ms: Option<u64>,
    /// Every so many seconds the replicas of a group compare their states, if anything has happened in it. 3600 when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_every_s: Option<u64>,
    /// Certificates for the connections between nodes; none for connections in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Certificates for the connections of clients; none for connections in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients_tls: Option<ClientsTls>,
    /// Which nodes are masters; none when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masters: Option<MastersConfig>,
    /// Groups of machines that the program brings along, see [`ServerBuilder`](super::ServerBuilder).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
    /// The nodes that the cluster begins with. Later ones are told by `quorate ctl add-node`, and all of them are remembered.
    pub nodes: Vec<NodeAddress>,
    /// What flags alone say.
    #[serde(skip)]
    pub apart: Apart,
}

/// Where a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// The node's number, never used for another node again.
    pub id: u64,
    /// Where its peers find it.
    pub peer: SocketAddr,
    /// Where clients find it.
    pub client: SocketAddr,
    /// Where operators find it; nowhere when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<SocketAddr>,
}

/// Where a node's certificates are. Relative to the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate of the authority that all nodes trust.
    pub ca: PathBuf,
    /// This node's certificate; `{node}` stands for the node's number.
    pub cert: String,
    /// Its key; `{node}` stands for the node's number.
    pub key: String,
}

/// `quorate server`'s flags.
#[derive(Args, Clone, Debug)]
pub struct ServerFlags {
    /// The cluster's configuration (TOML); all its nodes can share one.
    #[arg(long)]
    pub config: PathBuf,
    /// Which of the nodes in the configuration this one is.
    #[arg(long)]
    pub node: Option<u64>,
    /// Where this node keeps everything.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
    /// This node is new: its data directory is empty. A node that has lost its disk is not new, it is lost: it would
    /// forget its votes. Replace it by a node of another number.
    #[arg(long)]
    pub init: bool,
    /// This node is new and comes to a cluster that runs already, as `quorate ctl add-node` has told it: it makes nothing that
    /// is there. The configuration names it and some nodes that replicate the configuration log. Says `--init` too.
    #[arg(long)]
    pub join: bool,
    /// The node ends when its standard input does.
    #[arg(long)]
    pub until_input_ends: bool,
    /// How this node differs from what the others take it for.
    #[command(flatten)]
    pub apart: Apart,
}

/// How a node differs from what the others take it for.
#[derive(Args, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Apart {
    /// Where this node listens for its peers, if that is not where they find it: behind a proxy, say.
    #[arg(long, value_name = "ADDRESS")]
    pub listen_peer: Option<SocketAddr>,
    /// By how many milliseconds this node's wall clock is wrong. For tests.
    #[arg(long, value_name = "MS", hide = true, allow_negative_numbers = true, default_value_t = 0)]
    pub clock_offset_ms: i64,
}

impl ServerFlags {
    /// The flags of a node that is not new.
    pub(crate) fn of_node(config: PathBuf, node: u64, data_dir: PathBuf) -> Self {
        ServerFlags {
            config,
            node: Some(node),
            data_dir: Some(data_dir),
            init: false,
            join: false,
            until_input_ends: false,
            apart: Apart::default(),
        }
    }
}

impl ServerConfig {
    /// Reads a file, and lets the flags have their way.
    ///
    /// # Errors
    /// When the file cannot be read, or says what cannot be.
    pub fn read(flags: &ServerFlags) -> anyhow::Result<ServerConfig> {
        let path = &flags.config;
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: ServerConfig = toml::from_str(&text).with_context(|| format!("in {}", path.display()))?;
        config.node = flags.node.or(config.node);
        config.data_dir = flags.data_dir.clone().or(config.data_dir);
        config.apart = flags.apart;
        let (dir, node) = (path.parent().unwrap_or(Path::new("")), config.node);
        let node = node.map(|node| node.to_string()).unwrap_or_default();
        let at = |file: &str| dir.join(file.replace("{node}", &node));
        if let Some(tls) = &mut config.tls {
            tls.settle(at);
        }
        if let Some(tls) = &mut config.clients_tls {
            tls.settle(at);
        }
        config.check().with_context(|| format!("in {}", path.display()))?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let ids: BTreeSet<u64> = self.nodes.iter().map(|node| node.id).collect();
        ensure!(ids.len() == self.nodes.len(), "a node is named twice");
        ensure!(!ids.contains(&0), "there is no node 0");
        ensure!(self.node.is_some(), "which node is this? (--node)");
        ensure!(self.data_dir.is_some(), "where is the data? (--data-dir)");
        self.address()?;
        if let Some(timeout) = self.election_timeout_ms {
            ensure!(
                timeout >= ELECTION_TIMEOUT_MS_MIN,
                "election_timeout_ms is {timeout}: {ELECTION_TIMEOUT_MS_MIN} at least"
            );
        }
        ensure!(self.compare_every_s != Some(0), "compare_every_s is 0");
        for controller in &self.controllers {
            ensure!(ids.contains(controller), "controller {controller} is none of the nodes");
        }
        if let Some(masters) = &self.masters {
            masters.check(&ids)?;
        }
        GroupConfig::check(&self.groups, &ids)?;
        Ok(())
    }

    /// This node's own entry.
    ///
    /// # Errors
    /// When the configuration has none for it.
    pub fn address(&self) -> anyhow::Result<&NodeAddress> {
        let id = self.node.context("which node is this? (--node)")?;
        self.nodes.iter().find(|node| node.id == id).with_context(|| format!("node {id} is none of the nodes"))
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        ClusterId(self.cluster)
    }

    /// How its groups run.
    pub fn options(&self) -> GroupOptions {
        let upper = Duration::from_millis(self.election_timeout_ms.unwrap_or(ELECTION_TIMEOUT_MS));
        GroupOptions {
            heartbeat: upper / 6,
            election_timeout: (upper / 2, upper),
            lease_margin: upper / 10,
            ..GroupOptions::default()
        }
    }

    /// How often the replicas of a group compare their states.
    pub(super) fn compare_every(&self) -> Duration {
        Duration::from_secs(self.compare_every_s.unwrap_or(COMPARE_EVERY_S))
    }

    /// The address book of a cluster that begins with these nodes.
    pub(crate) fn book(&self) -> Book {
        let addresses = |node: &NodeAddress| NodeAddresses {
            peer: node.peer.to_string(),
            client: node.client.to_string(),
            http: node.http.map(|http| http.to_string()),
        };
        let nodes = self.nodes.iter().map(|node| (NodeId(node.id), addresses(node))).collect();
        Book { nodes, controllers: self.controllers(), ..Book::default() }
    }

    /// The nodes that replicate the configuration log when the cluster begins.
    pub fn controllers(&self) -> BTreeSet<NodeId> {
        if self.controllers.is_empty() {
            let ids: BTreeSet<_> = self.nodes.iter().map(|node| NodeId(node.id)).collect();
            return ids.into_iter().take(CONTROLLERS).collect();
        }
        self.controllers.iter().copied().map(NodeId).collect()
    }
}

/// Makes an authority for trying things out, and a certificate for each node; those that are there stay.
///
/// # Errors
/// When `dir` cannot be written.
pub fn make_certs(dir: &Path, nodes: &[u64]) -> anyhow::Result<()> {
    let ids: Vec<NodeId> = nodes.iter().copied().map(NodeId).collect();
    quorate::transport::grpc::dev_certs(dir, &ids).with_context(|| format!("in {}", dir.display()))?;
    println!("an authority and {} certificates in {}", nodes.len(), dir.display());
    Ok(())
}

impl TlsFiles {
    fn settle(&mut self, at: impl Fn(&str) -> PathBuf) {
        self.ca = at(&self.ca.to_string_lossy());
        for file in [&mut self.cert, &mut self.key] {
            *file = at(file).to_string_lossy().into_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, node: Option<u64>) -> anyhow::Result<ServerConfig> {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("quorate.toml");
        std::fs::write(&config, text).expect("a file");
        ServerConfig::read(&ServerFlags {
            config,
            node,
            data_dir: Some("data".into()),
            init: false,
            join: false,
            until_input_ends: false,
            apart: Apart::default(),
        })
    }

    const TWO: &str = r#"
        cluster = 7
        [tls]
        ca = "ca.pem"
        cert = "node-{node}.pem"
        key = "node-{node}-key.pem"
        [[nodes]]
        id = 1
        peer = "127.0.0.1:7101"
        client = "127.0.0.1:7001"
        [[nodes]]
        id = 2
        peer = "127.0.0.1:7102"
        client = "127.0.0.1:7002"
    "#;

    #[test]
    fn one_file_serves_all_nodes_and_flags_say_which_one_this_is() {
        let config = read(TWO, Some(2)).expect("a configuration");
        assert_eq!(config.address().expect("an address").client.port(), 7002);
        assert_eq!(config.controllers(), BTreeSet::from([NodeId(1), NodeId(2)]));
        assert!(config.tls.expect("certificates").cert.ends_with("node-2.pem"));
    }

    #[test]
    fn a_configuration_that_cannot_be_is_refused_by_name() {
        let refusal = |text: &str, node| format!("{:#}", read(text, node).expect_err("a refusal"));
        assert!(refusal(TWO, None).contains("--node"));
        assert!(refusal(TWO, Some(3)).contains("node 3 is none of the nodes"));
        assert!(refusal(&TWO.replace("id = 2", "id = 1"), Some(1)).contains("twice"));
        assert!(refusal(&TWO.replace("cluster = 7", "cluster = 7\nclustre = 8"), Some(1)).contains("clustre"));
        assert!(refusal("cluster = 7\nnodes = 3", Some(1)).contains("nodes"));
        let hasty = TWO.replace("cluster = 7", "cluster = 7\nelection_timeout_ms = 5");
        assert!(refusal(&hasty, Some(1)).contains("30 at least"));
    }
}
