//! This process's node: its host, its replicas, and the lines to and from the other nodes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quorate::env::{Env, RealEnv, SeededEnv};
use quorate::fs::RealFs;
use quorate::transport::{PostConfig, PostTransport, Transport};
use quorate::{Fatal, Group, GroupId, GroupOptions, Host, HostConfig, NodeId, StateMachine};

use super::{DistributedOptions, Roster};
use crate::disk::{Stores, Whose, begin_life, directory_of, seed_of_life, small_log};
use crate::hosting::Hosting;
use crate::stdio::peers::PeerMessage;
use crate::stdio::{Failure, Outbox, PeerLines};

/// The largest message between processes: in base64, and with what is around it, it must fit into a line.
const MESSAGE_BYTES_MAX: usize = 8 << 20;

/// This process's node of a cluster. It hears nobody before [`DistributedNode::listen`].
pub struct DistributedNode {
    roster: Roster,
    /// The lines to the others, unless they are reached in another way.
    post: Option<Arc<PostTransport>>,
    hosting: Hosting,
}

impl fmt::Debug for DistributedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedNode").field("node", self.roster.name()).finish_non_exhaustive()
    }
}

impl DistributedNode {
    /// Starts the node of `roster`, without any replica; its messages leave through `outbox`, and `failure` is told when it
    /// cannot go on. `what` names the service: another one's data is refused.
    ///
    /// # Errors
    /// [`Fatal`] when the data directory is another node's, in use or damaged.
    pub async fn start(
        what: &str,
        roster: Roster,
        outbox: Outbox,
        failure: Failure,
        options: &DistributedOptions,
        group: GroupOptions,
    ) -> Result<Self, Fatal> {
        let (stores, lives) = open(what, &roster, options).await.map_err(|error| Fatal(format!("{error:#}")))?;
        let env: Arc<dyn Env> = match options.seed {
            Some(seed) => Arc::new(SeededEnv::new(seed_of_life(roster.seed(seed), lives))),
            None => Arc::new(RealEnv),
        };
        let (node, cluster) = (roster.own(), roster.cluster());
        let peers = roster.nodes().into_iter().filter(|peer| *peer != node).collect();
        let config = PostConfig { node, cluster, peers, message_bytes_max: MESSAGE_BYTES_MAX };
        let lines = PeerLines::new(Arc::clone(roster.name()), roster.names().clone(), outbox);
        let post = PostTransport::new(config, Arc::clone(&env), lines);
        let transport = Arc::clone(&post) as Arc<dyn Transport>;
        let host = Host::new(HostConfig { node, cluster }, Arc::clone(&env), transport);
        Ok(DistributedNode { roster, post: Some(post), hosting: Hosting::new(host, env, stores, group, failure) })
    }

    /// The node of `roster` whose replicas are there already, and whose host reaches the others by itself.
    pub(crate) fn over(roster: Roster, hosting: Hosting) -> Self {
        DistributedNode { roster, post: None, hosting }
    }

    /// Starts this node's replica of a group, which all of `voters` make with the same voters.
    ///
    /// # Errors
    /// [`Fatal`] when its stores cannot be read.
    pub async fn host<M: StateMachine>(
        &self,
        id: GroupId,
        machine: M,
        voters: BTreeSet<NodeId>,
    ) -> Result<Group<M>, Fatal> {
        self.hosting.start(id, machine, voters).await
    }

    /// From now on other nodes' messages are heard; those that came before are lost.
    pub fn listen(&self) {
        if let Some(post) = &self.post {
            post.hand_to(self.hosting.host());
        }
    }

    /// Clocks, randomness, tasks.
    pub fn env(&self) -> &Arc<dyn Env> {
        self.hosting.env()
    }

    /// All nodes, and which one this is.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// This node's replicas.
    pub(crate) fn hosting(&self) -> &Hosting {
        &self.hosting
    }

    /// Takes a message of another node.
    pub fn hear(&self, message: &PeerMessage) {
        let sender = self.roster.node_of(&message.src);
        let Some(from) = sender.filter(|_| message.dest == *self.roster.name()) else {
            tracing::warn!(src = &*message.src, dest = &*message.dest, "a message that is none of this node's");
            return;
        };
        let received = self.post.as_ref().map(|post| post.receive(from, &message.record));
        if let Some(Err(error)) = received {
            tracing::warn!(src = &*message.src, %error, "a node's message is lost");
        }
    }

    /// Stops the node.
    pub async fn shutdown(&self) {
        self.hosting.shutdown().await;
    }
}

/// What the node's replicas are made of, and how often they were started before.
async fn open(what: &str, roster: &Roster, options: &DistributedOptions) -> anyhow::Result<(Stores, u64)> {
    let Some(dir) = &options.data_dir else { return Ok((Stores::in_memory(), 0)) };
    let dir = dir.join(directory_of(roster.name()));
    let names = roster.names().values().map(ToString::to_string).collect();
    Whose::one(what, roster.name(), names).take(&RealFs, &dir)?;
    // The log is locked from here on.
    let stores = Stores::open(&dir, small_log()).await?;
    let lives = begin_life(&RealFs, &dir)?;
    Ok((stores, lives))
}
