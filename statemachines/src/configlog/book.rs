//! The address book: which nodes the cluster has, where each one is, and which ids are used up.
//!
//! Promises: an id that was ever in the book is never another node's; a node leaves the book only when nothing is to be
//! replicated on it any more.
//! Leaves out: who replicates a group that is known (its configuration says), and doing what is wanted (each group's
//! leader does).

use std::collections::{BTreeMap, BTreeSet};

use quorate::NodeId;
use serde::{Deserialize, Serialize};

use crate::names::Gid;

/// Where a node is, as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddresses {
    /// Where its peers find it.
    pub peer: String,
    /// Where clients find it.
    pub client: String,
    /// Where operators find it, if they do.
    pub http: Option<String>,
}

impl NodeAddresses {
    fn all(&self) -> impl Iterator<Item = &String> {
        [&self.peer, &self.client].into_iter().chain(&self.http)
    }

    /// Something that both have.
    fn shared_with<'a>(&'a self, other: &'a NodeAddresses) -> Option<&'a String> {
        self.all().find(|address| other.all().any(|taken| taken == *address))
    }
}

/// The nodes of a cluster.
///
/// Invariants: no id is both in `nodes` and in `removed`; controllers are in `nodes`; no two nodes share an address; while
/// `version` is 0 there are neither nodes nor removed ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Grows with every change of nodes, controllers and servers of groups that have left; 0 before the first.
    pub version: u64,
    /// The nodes.
    pub nodes: BTreeMap<NodeId, NodeAddresses>,
    /// The ids of nodes that were removed, never to be used again.
    pub removed: BTreeSet<NodeId>,
    /// The nodes that are to replicate the configuration log.
    pub controllers: BTreeSet<NodeId>,
    /// Groups that have left, with the servers that keep what they still hold.
    pub left: BTreeMap<Gid, Vec<String>>,
}

/// A change of the book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeChange {
    /// The cluster's first nodes. Nothing changes if the book has been begun.
    Begin {
        /// The nodes.
        nodes: BTreeMap<NodeId, NodeAddresses>,
        /// Those that replicate the configuration log.
        controllers: BTreeSet<NodeId>,
    },
    /// A node joins the cluster. It replicates nothing yet.
    Add {
        /// Its id, which no node ever had.
        node: NodeId,
        /// Where it is.
        addresses: NodeAddresses,
    },
    /// A node is found elsewhere from now on.
    Readdress {
        /// The node.
        node: NodeId,
        /// Where it is.
        addresses: NodeAddresses,
    },
    /// A node that is to replicate nothing leaves the cluster for good.
    Remove {
        /// The node.
        node: NodeId,
    },
    /// Everything that one node is to replicate, another one is to replicate in its place.
    Replace {
        /// The node that is to replicate nothing any more.
        old: NodeId,
        /// The node that takes its place.
        new: NodeId,
    },
    /// These are to replicate the configuration log.
    Controllers {
        /// The nodes.
        nodes: BTreeSet<NodeId>,
    },
}

/// Why a change of the book was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum NodeRefusal {
    /// The cluster's first nodes have not been written down yet.
    #[error("the cluster's nodes are not written down yet: try again")]
    NotBegun,
    /// There is no node 0.
    #[error("a node's id is not 0")]
    Zero,
    /// The id is a node's.
    #[error("{0} is known already")]
    Known(NodeId),
    /// The id was a node's that is gone.
    #[error("{0} was removed, and an id is never used again")]
    Removed(NodeId),
    /// The id is no node's.
    #[error("{0} is none of the cluster's nodes")]
    Unknown(NodeId),
    /// The address is another node's.
    #[error("{address} is an address of {node}")]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        node: NodeId,
    },
    /// The node is still to replicate something.
    #[error("{node} replicates {group}: another node must take its place first")]
    Replicates {
        /// The node.
        node: NodeId,
        /// A group of it.
        group: String,
    },
    /// A group cannot be replicated by nobody.
    #[error("a group needs a node")]
    Nobody,
    /// A node cannot take its own place.
    #[error("{0} cannot take its own place")]
    Itself(NodeId),
}

/// A node's name among the servers of a group.
pub fn server_name(node: NodeId) -> String {
    node.to_string()
}

/// The node of such a name; `None` for the name of a server that is no node of the book.
pub fn server_node(name: &str) -> Option<NodeId> {
    let node = name.strip_prefix('n').and_then(|number| number.parse().ok()).map(NodeId)?;
    (server_name(node) == name).then_some(node)
}

impl Book {
    /// Whether the cluster's first nodes are in it.
    pub fn is_begun(&self) -> bool {
        self.version > 0
    }

    pub(super) fn begin(
        &mut self,
        nodes: BTreeMap<NodeId, NodeAddresses>,
        controllers: BTreeSet<NodeId>,
    ) -> Result<(), NodeRefusal> {
        if self.is_begun() {
            return Ok(());
        }
        let mut begun = Book { version: 1, left: self.left.clone(), ..Book::default() };
        for (node, addresses) in nodes {
            begun.insert(node, addresses)?;
        }
        begun.set_controllers(controllers)?;
        *self = begun;
        self.version = 1;
        Ok(())
    }

    /// The same cluster with other nodes. Ids that were used up stay so.
    pub(super) fn readdress_all(
        &mut self,
        nodes: BTreeMap<NodeId, NodeAddresses>,
        controllers: BTreeSet<NodeId>,
    ) -> Result<(), NodeRefusal> {
        let (removed, left) = (self.removed.clone(), self.left.clone());
        let mut next = Book { version: self.version + 1, removed, left, ..Book::default() };
        for (node, addresses) in nodes {
            next.insert(node, addresses)?;
        }
        next.set_controllers(controllers)?;
        *self = next;
        Ok(())
    }

    pub(super) fn add(&mut self, node: NodeId, addresses: NodeAddresses) -> Result<(), NodeRefusal> {
        if !self.is_begun() {
            return Err(NodeRefusal::NotBegun);
        }
        if self.nodes.contains_key(&node) {
            return Err(NodeRefusal::Known(node));
        }
        self.insert(node, addresses)?;
        self.version += 1;
        Ok(())
    }

    pub(super) fn readdress(&mut self, node: NodeId, addresses: NodeAddresses) -> Result<(), NodeRefusal> {
        self.check_known(node)?;
        if self.nodes.get(&node) == Some(&addresses) {
            return Ok(());
        }
        self.insert(node, addresses)?;
        self.version += 1;
        Ok(())
    }

    fn insert(&mut self, node: NodeId, addresses: NodeAddresses) -> Result<(), NodeRefusal> {
        if node.0 == 0 {
            return Err(NodeRefusal::Zero);
        }
        if self.removed.contains(&node) {
            return Err(NodeRefusal::Removed(node));
        }
        let others = self.nodes.iter().filter(|(other, _)| **other != node);
        for (other, theirs) in others {
            if let Some(address) = addresses.shared_with(theirs) {
                return Err(NodeRefusal::AddressTaken { address: address.clone(), node: *other });
            }
        }
        self.nodes.insert(node, addresses);
        Ok(())
    }

    /// Takes a node out, which the caller has found in no configuration.
    pub(super) fn remove(&mut self, node: NodeId) -> Result<(), NodeRefusal> {
        self.check_known(node)?;
        let replicates = |group: &str| NodeRefusal::Replicates { node, group: group.to_owned() };
        if self.controllers.contains(&node) {
            return Err(replicates("the configuration log"));
        }
        if let Some(gid) = serving(&self.left, node) {
            return Err(replicates(&gid.0));
        }
        self.nodes.remove(&node);
        self.removed.insert(node);
        self.version += 1;
        Ok(())
    }

    /// Puts `new` in the place of `old`, wherever the book itself has it.
    pub(super) fn replace(&mut self, old: NodeId, new: NodeId) -> Result<(), NodeRefusal> {
        self.check_known(old)?;
        self.check_known(new)?;
        if old == new {
            return Err(NodeRefusal::Itself(old));
        }
        let mut changed = self.controllers.remove(&old);
        if changed {
            self.controllers.insert(new);
        }
        for servers in self.left.values_mut() {
            changed |= replace_in(servers, old, new);
        }
        self.version += u64::from(changed);
        Ok(())
    }

    pub(super) fn set_controllers(&mut self, nodes: BTreeSet<NodeId>) -> Result<(), NodeRefusal> {
        nodes.iter().try_for_each(|node| self.check_known(*node))?;
        if nodes.is_empty() {
            return Err(NodeRefusal::Nobody);
        }
        if self.controllers != nodes {
            self.controllers = nodes;
            self.version += 1;
        }
        Ok(())
    }

    /// Gives a group that has left other servers.
    pub(super) fn place(&mut self, gid: &Gid, servers: Vec<String>) {
        self.left.insert(gid.clone(), servers);
        self.version += 1;
    }

    pub(super) fn check_known(&self, node: NodeId) -> Result<(), NodeRefusal> {
        match self.nodes.contains_key(&node) {
            true => Ok(()),
            false if !self.is_begun() => Err(NodeRefusal::NotBegun),
            false if self.removed.contains(&node) => Err(NodeRefusal::Removed(node)),
            false => Err(NodeRefusal::Unknown(node)),
        }
    }

    /// Whether these can be a group's servers. Servers are nodes once the book is begun; before, they are just names.
    pub(super) fn check_servers(&self, servers: &[String]) -> Result<(), NodeRefusal> {
        if !self.is_begun() {
            return Ok(());
        }
        if servers.is_empty() {
            return Err(NodeRefusal::Nobody);
        }
        servers.iter().filter_map(|name| server_node(name)).try_for_each(|node| self.check_known(node))
    }

    /// Checks the type's invariants.
    pub(super) fn validate(&self) -> Result<(), &'static str> {
        if self.removed.iter().any(|node| self.nodes.contains_key(node)) {
            return Err("a removed node is in the book");
        }
        if !self.controllers.iter().all(|node| self.nodes.contains_key(node)) {
            return Err("a controller is not in the book");
        }
        let empty = self.nodes.is_empty() && self.removed.is_empty();
        if !self.is_begun() && !empty {
            return Err("a book with nodes that was never begun");
        }
        Ok(())
    }
}

/// A group that `node` is a server of.
pub(super) fn serving(groups: &BTreeMap<Gid, Vec<String>>, node: NodeId) -> Option<&Gid> {
    let name = server_name(node);
    groups.iter().find(|(_, servers)| servers.contains(&name)).map(|(gid, _)| gid)
}

/// Puts `new` in the place of `old`; says whether it had one.
pub(super) fn replace_in(servers: &mut Vec<String>, old: NodeId, new: NodeId) -> bool {
    let (old, new) = (server_name(old), server_name(new));
    let Some(at) = servers.iter().position(|name| *name == old) else { return false };
    if servers.contains(&new) {
        servers.remove(at);
    } else {
        servers[at] = new;
    }
    true
}
