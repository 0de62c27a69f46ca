//! The nodes of a cluster by name, numbered alike by all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate::types::ClusterId;
use quorate::{Fatal, NodeId};
use twox_hash::XxHash3_64;

/// All nodes, and which one this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    names: BTreeMap<NodeId, Arc<str>>,
    own: NodeId,
    cluster: ClusterId,
}

impl Roster {
    /// The node `own` among all `names`, which all processes are told, in whatever order.
    ///
    /// # Errors
    /// [`Fatal`] when `own` is not among them.
    pub fn of_all(names: &[String], own: &str) -> Result<Roster, Fatal> {
        let sorted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let names: BTreeMap<NodeId, Arc<str>> = (1..).map(NodeId).zip(sorted.into_iter().map(Arc::from)).collect();
        let cluster = ClusterId(hash(names.values()));
        Self::found(names, own, cluster)
    }

    /// The node `own` among those that this process is told of, which need not be all: each is numbered by its name alone.
    ///
    /// # Errors
    /// [`Fatal`] when `own` is not among them, or two names have the same number.
    pub fn of_some<'a>(names: impl IntoIterator<Item = &'a str>, own: &str) -> Result<Roster, Fatal> {
        let mut numbered = BTreeMap::new();
        for name in names {
            let name: Arc<str> = name.into();
            let before = numbered.insert(NodeId(hash([&name])), Arc::clone(&name));
            if let Some(before) = before.filter(|before| *before != name) {
                return Err(Fatal(format!("nodes {before:?} and {name:?} have the same number: one must be renamed")));
            }
        }
        Self::found(numbered, own, ClusterId(0))
    }

    fn found(names: BTreeMap<NodeId, Arc<str>>, own: &str, cluster: ClusterId) -> Result<Roster, Fatal> {
        match names.iter().find(|(_, name)| &***name == own) {
            Some((node, _)) => Ok(Roster { own: *node, names, cluster }),
            None => Err(Fatal("this node is not of the cluster".into())),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This process's node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// This node's name.
    pub fn name(&self) -> &Arc<str> {
        &self.names[&self.own]
    }

    /// All names.
    pub fn names(&self) -> &BTreeMap<NodeId, Arc<str>> {
        &self.names
    }

    /// All nodes, in the order of their names as [`Roster::of_all`] numbers them.
    pub fn nodes(&self) -> BTreeSet<NodeId> {
        self.names.keys().copied().collect()
    }

    /// The node of a name.
    pub fn node_of(&self, name: &str) -> Option<NodeId> {
        self.names.iter().find(|(_, known)| &***known == name).map(|(node, _)| *node)
    }

    /// This node's share of a seed: processes of one seed must not draw the same numbers.
    pub(super) fn seed(&self, seed: u64) -> u64 {
        seed ^ hash([self.name()])
    }
}

fn hash<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> u64 {
    // A zero byte ends each, so that no two lists of names read the same.
    let all: Vec<u8> = names.into_iter().flat_map(|name| name.bytes().chain([0])).collect();
    XxHash3_64::oneshot(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn all_processes_number_the_nodes_alike() {
        let a = Roster::of_all(&names(&["n2", "n10", "n1"]), "n1").expect("a roster");
        let b = Roster::of_all(&names(&["n10", "n1", "n2"]), "n10").expect("a roster");
        assert_eq!((a.names(), a.cluster()), (b.names(), b.cluster()));
        assert_eq!((a.own(), b.own(), a.node_of("n2")), (NodeId(1), NodeId(2), Some(NodeId(3))));
        let c = Roster::of_all(&names(&["n1", "n2"]), "n1").expect("a roster");
        assert_ne!(a.cluster(), c.cluster());
        assert!(Roster::of_all(&names(&["n1"]), "n2").is_err());
    }

    #[test]
    fn a_node_that_others_need_not_know_of_has_the_number_of_its_name() {
        let a = Roster::of_some(["n1", "n2", "n3"], "n1").expect("a roster");
        let b = Roster::of_some(["n7", "n2"], "n7").expect("a roster");
        assert_eq!((a.node_of("n2"), a.cluster()), (b.node_of("n2"), b.cluster()));
        assert_ne!(a.own(), b.own());
    }
}
