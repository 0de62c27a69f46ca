//! One replica of one group in a process of its own; the others are in other processes, reached through the lines of
//! standard input and output.
//!
//! Promises: starts at once, whoever else is there yet; from the names alone, all processes come to the same group.
//! Leaves out: durability. A process that has lost its memory must not come back under its old name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use quorate::env::{Env, RealEnv, SeededEnv};
use quorate::log::MemoryLog;
use quorate::snapshot::MemorySnapshots;
use quorate::transport::{PostConfig, PostTransport, Transport};
use quorate::{ClusterId, Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, StateMachine};
use twox_hash::XxHash3_64;

use crate::stdio::peers::PeerMessage;
use crate::stdio::{Outbox, PeerLines};

/// The largest message between processes: in base64, and with what is around it, it must fit into a line.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// How the nodes of a group find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistributedOptions {
    /// A leader's sign of life. It must be longer than a message takes to another node and back.
    pub heartbeat: Duration,
    /// Where random choices follow from, together with the node's name; drawn at random if missing.
    pub seed: Option<u64>,
}

impl DistributedOptions {
    /// Timeouts in proportion: a leader is missed after five to ten heartbeats.
    fn group(&self) -> GroupOptions {
        GroupOptions {
            heartbeat: self.heartbeat,
            election_timeout: (self.heartbeat * 5, self.heartbeat * 10),
            lease_margin: self.heartbeat,
            ..GroupOptions::default()
        }
    }
}

/// This process's node of a group.
pub struct DistributedNode<M> {
    /// By node: those of the group, in the order of their names.
    names: BTreeMap<NodeId, Arc<str>>,
    post: Arc<PostTransport>,
    host: Arc<Host>,
    env: Arc<dyn Env>,
    group: Group<M>,
}

impl<M> fmt::Debug for DistributedNode<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedNode").field("node", &self.host.node()).finish_non_exhaustive()
    }
}

impl<M: StateMachine> DistributedNode<M> {
    /// Starts the node called `own` of the group of all `names`; its messages leave through `outbox`.
    ///
    /// # Errors
    /// [`Fatal`] when `own` is not among `names`, or the replica cannot start.
    pub async fn start(
        names: &[String],
        own: &str,
        machine: M,
        outbox: Outbox,
        options: DistributedOptions,
    ) -> Result<Self, Fatal> {
        // All processes number the nodes alike, in whatever order they were told of them.
        let sorted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let names: BTreeMap<NodeId, Arc<str>> = (1..).map(NodeId).zip(sorted.into_iter().map(Arc::from)).collect();
        let own = names.iter().find(|(_, name)| &***name == own);
        let Some((node, name)) = own.map(|(node, name)| (*node, Arc::clone(name))) else {
            return Err(Fatal("this node is not of the group".into()));
        };
        let cluster = ClusterId(hash(names.values()));
        // Processes of one seed must not draw the same numbers.
        let env: Arc<dyn Env> = match options.seed {
            Some(seed) => Arc::new(SeededEnv::new(seed ^ hash([&name].into_iter()))),
            None => Arc::new(RealEnv),
        };
        let peers = names.keys().copied().filter(|peer| *peer != node).collect();
        let config = PostConfig { node, cluster, peers, message_bytes_max: MESSAGE_BYTES_MAX };
        let post = PostTransport::new(config, Arc::clone(&env), PeerLines::new(name, names.clone(), outbox));
        let transport = Arc::clone(&post) as Arc<dyn Transport>;
        let host = Host::new(HostConfig { node, cluster }, Arc::clone(&env), transport);
        let spec = GroupSpec {
            id: GroupId(1),
            machine,
            log: Arc::new(MemoryLog::new()),
            snapshots: Arc::new(MemorySnapshots::new()),
            options: options.group(),
        };
        let group = host.create_group(spec).await?;
        // Every process makes the group, all of them the same one. Nobody is heard before that, so its log is empty.
        let made = group.initialize(names.keys().copied().collect()).await;
        made.map_err(|cause| Fatal(cause.to_string()))?;
        post.hand_to(&host);
        Ok(DistributedNode { names, post, host, env, group })
    }

    /// The handle of the group.
    pub fn group(&self) -> &Group<M> {
        &self.group
    }

    /// Clocks, randomness, tasks.
    pub fn env(&self) -> &Arc<dyn Env> {
        &self.env
    }

    /// This node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.names[&self.host.node()]
    }

    /// The names of all nodes of the group.
    pub fn names(&self) -> &BTreeMap<NodeId, Arc<str>> {
        &self.names
    }

    /// Takes a message of another node.
    pub fn hear(&self, message: &PeerMessage) {
        let sender = self.names.iter().find(|(_, name)| **name == message.src);
        let Some((from, _)) = sender.filter(|_| message.dest == *self.name()) else {
            tracing::warn!(src = &*message.src, dest = &*message.dest, "a message that is none of this node's");
            return;
        };
        if let Err(error) = self.post.receive(*from, &message.record) {
            tracing::warn!(src = &*message.src, %error, "a node's message is lost");
        }
    }

    /// Stops the node.
    pub async fn shutdown(&self) {
        self.host.shutdown().await;
    }
}

fn hash<'a>(names: impl Iterator<Item = &'a Arc<str>>) -> u64 {
    // A zero byte ends each, so that no two lists of names read the same.
    let all: Vec<u8> = names.flat_map(|name| name.bytes().chain([0])).collect();
    XxHash3_64::oneshot(&all)
}
