//! Which node has a replica of which group: four nodes with three replicas each, so that no two groups share all of theirs.

use std::collections::BTreeSet;

use quorate::{GroupId, NodeId};
use quorate_statemachines::Gid;

/// The nodes of one world.
pub(super) const NODES: u64 = 4;

/// The controller's group, and the ids of the shard groups from here on.
const CONTROLLER: GroupId = GroupId(1);
const GROUPS: u64 = 10;

/// Who replicates what.
#[derive(Debug)]
pub(crate) struct Layout {
    gids: Vec<Gid>,
}

impl Layout {
    /// A controller and so many shard groups.
    pub(super) fn new(groups: u64) -> Layout {
        Layout { gids: (1..=groups).map(|nth| Gid::new(format!("g{nth}"))).collect() }
    }

    /// The shard groups.
    pub(super) fn gids(&self) -> &[Gid] {
        &self.gids
    }

    /// The controller's group.
    pub(super) fn controller(&self) -> GroupId {
        CONTROLLER
    }

    /// The nodes of the controller: all but the last.
    pub(super) fn controllers(&self) -> BTreeSet<NodeId> {
        all_but(NODES)
    }

    /// The group of a name.
    pub(super) fn id(&self, gid: &Gid) -> GroupId {
        GroupId(GROUPS + self.place(gid))
    }

    /// The nodes of a group: all but one, another one for each.
    pub(super) fn nodes(&self, gid: &Gid) -> BTreeSet<NodeId> {
        all_but(1 + self.place(gid) % NODES)
    }

    /// The groups that have a replica on a node.
    pub(super) fn on(&self, node: NodeId) -> Vec<Gid> {
        self.gids.iter().filter(|gid| self.nodes(gid).contains(&node)).cloned().collect()
    }

    fn place(&self, gid: &Gid) -> u64 {
        self.gids.iter().position(|known| known == gid).map_or(0, |place| place as u64)
    }
}

fn all_but(one: u64) -> BTreeSet<NodeId> {
    (1..=NODES).filter(|node| *node != one).map(NodeId).collect()
}
