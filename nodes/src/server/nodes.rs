//! The cluster's nodes as operators ask of them: who is to replicate what, and who does.
//!
//! Promises: who replicates a group is what its leader says; where there is none, what some replica last heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate::{Described, Membership, NodeId, Role};
use quorate_statemachines::Gid;
use quorate_statemachines::configlog::{Book, Config, NodeAddresses, server_name, server_node};

use super::groups::{CONTROLLER_NAME, Groups};
use super::proto;

/// How long a node may take to say what it knows of a group.
const ASK: Duration = Duration::from_secs(1);

/// Who is to replicate what, and who does.
pub(super) struct Placements {
    book: Arc<Book>,
    groups: Vec<Placement>,
}

struct Placement {
    name: String,
    wanted: BTreeSet<NodeId>,
    left: bool,
    fixed: bool,
    /// `None` when nobody answered.
    known: Option<Described>,
    /// The nodes that may have it.
    asked: BTreeSet<NodeId>,
}

/// The names of nodes among a group's servers, each once.
pub(super) fn servers(nodes: impl IntoIterator<Item = u64>) -> Vec<String> {
    let nodes: BTreeSet<NodeId> = nodes.into_iter().map(NodeId).collect();
    nodes.into_iter().map(server_name).collect()
}

/// A node with its addresses, of which none is anything but a host and a port.
///
/// # Errors
/// What is wrong with them.
pub(super) fn addressed(node: proto::Node) -> Result<(NodeId, NodeAddresses), String> {
    let proto::Node { id, peer, client, http } = node;
    for address in [&peer, &client].into_iter().chain(&http) {
        let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) || address.contains(['/', '@', ' ']) {
            return Err(format!("{address:?} is not like 10.0.0.4:7101"));
        }
    }
    Ok((NodeId(id), NodeAddresses { peer, client, http }))
}

/// Asks all nodes that may know what they know.
pub(super) async fn placements(groups: &Groups, book: Arc<Book>, config: Arc<Config>) -> Placements {
    let controllers = if book.is_begun() { &book.controllers } else { &groups.beginning().controllers };
    let controller = Wanted { name: CONTROLLER_NAME, nodes: controllers.clone(), left: false, fixed: false };
    let fixed = groups.fixed().groups().iter();
    let fixed = fixed.map(|group| Wanted { name: &group.name, nodes: group.nodes.clone(), left: false, fixed: true });
    let here = config.groups.iter().map(|(gid, servers)| (gid, (servers, false)));
    let left = book.left.iter().map(|(gid, servers)| (gid, (servers, true)));
    let shards: BTreeMap<&Gid, _> = here.chain(left).collect();
    let shards = shards.into_iter().map(|(gid, (servers, left))| {
        let nodes = servers.iter().filter_map(|name| server_node(name)).collect();
        Wanted { name: &gid.0, nodes, left, fixed: false }
    });
    let all = [controller].into_iter().chain(fixed).chain(shards);
    let placed = futures::future::join_all(all.map(|wanted| placed(wanted, groups))).await;
    Placements { book, groups: placed }
}

struct Wanted<'a> {
    name: &'a str,
    nodes: BTreeSet<NodeId>,
    left: bool,
    fixed: bool,
}

async fn placed(wanted: Wanted<'_>, groups: &Groups) -> Placement {
    let Wanted { name, nodes, left, fixed } = wanted;
    let mut asked = nodes.clone();
    let mut known = None;
    if let Some(group) = groups.any(name) {
        asked.extend(group.nodes());
        known = group.described(&asked, ASK).await;
    }
    Placement { name: name.to_owned(), wanted: nodes, left, fixed, known, asked }
}

impl Placement {
    fn membership(&self) -> Membership {
        self.known.as_ref().map(|known| known.membership.clone()).unwrap_or_default()
    }

    fn is_settled(&self) -> bool {
        let led = self.known.as_ref().is_some_and(|known| known.role == Role::Leader);
        let Membership { voters, learners } = self.membership();
        led && learners.is_empty() && voters == [self.wanted.clone()]
    }

    fn is_on(&self, node: NodeId) -> bool {
        let replicated = match &self.known {
            Some(known) => known.membership.contains(node),
            // Nobody says.
            None => self.asked.contains(&node),
        };
        replicated || self.wanted.contains(&node)
    }

    fn reply(&self) -> proto::Placement {
        let ids = |nodes: BTreeSet<NodeId>| nodes.into_iter().map(|node| node.0).collect();
        let membership = self.membership();
        proto::Placement {
            group: self.name.clone(),
            wanted: ids(self.wanted.clone()),
            voters: ids(membership.voter_ids()),
            learners: ids(membership.learners),
            leader: self.known.as_ref().and_then(|known| known.leader).map(|node| node.0),
            settled: self.is_settled(),
            left: self.left,
            fixed: self.fixed,
        }
    }
}

impl Placements {
    /// A group that `node` replicates, or may.
    pub(super) fn replicated_by(&self, node: NodeId) -> Option<&str> {
        self.groups.iter().find(|placement| placement.is_on(node)).map(|placement| placement.name.as_str())
    }

    /// All of it, and to whom this node is connected.
    pub(super) fn reply(&self, connected: impl Fn(NodeId) -> bool) -> proto::NodesReply {
        let member = |(id, addresses): (&NodeId, &NodeAddresses)| {
            let NodeAddresses { peer, client, http } = addresses.clone();
            proto::Member { node: Some(proto::Node { id: id.0, peer, client, http }), connected: connected(*id) }
        };
        proto::NodesReply {
            nodes: self.book.nodes.iter().map(member).collect(),
            removed: self.book.removed.iter().map(|node| node.0).collect(),
            groups: self.groups.iter().map(Placement::reply).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        let node = |peer: &str| {
            addressed(proto::Node { id: 4, peer: peer.into(), client: "host:2".into(), http: None }).map(|_| ())
        };
        for good in ["10.0.0.4:7101", "node-4.example:1", "[::1]:65535"] {
            assert_eq!(node(good), Ok(()), "{good}");
        }
        for bad in ["", "host", "host:", ":7101", "host:0", "host:65536", "http://host:1", "a b:1", "u@host:1"] {
            assert!(node(bad).is_err(), "{bad}");
        }
    }
}
