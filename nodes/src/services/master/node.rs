//! One master on a node that somebody else has made, with clocks, a network and stores of its own: a simulation's, say.

use std::fmt;
use std::sync::Arc;

use quorate::env::Env;
use quorate::log::LogStore;
use quorate::snapshot::SnapshotStore;
use quorate::{Fatal, Group, GroupId, GroupOptions, Host, NodeId};
use quorate_statemachines::master::{MasterMachine, Name};

use super::masters::{Masters, Tell};
use super::{MasterOptions, of_masters};
use crate::disk::Stores;
use crate::hosting::Hosting;
use crate::stdio::Failure;

/// The masters' group where there is no other.
const GROUP: GroupId = GroupId(1);

/// What one master is made of.
pub struct MasterNode {
    /// Its node, which reaches the others' and hears them.
    pub host: Arc<Host>,
    /// The node's clocks, randomness and tasks.
    pub env: Arc<dyn Env>,
    /// The log of its replica.
    pub log: Arc<dyn LogStore>,
    /// The snapshots of its replica.
    pub snapshots: Arc<dyn SnapshotStore>,
    /// How the masters' group runs.
    pub group: GroupOptions,
}

impl fmt::Debug for MasterNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterNode").field("node", &self.host.node()).finish_non_exhaustive()
    }
}

impl Masters {
    /// Starts the master on `node`, one of all `names`, whose nodes are numbered from 1 in their order. Waits for none of the
    /// others.
    ///
    /// # Errors
    /// [`Fatal`] when its replica cannot start, or no master is on the node.
    pub async fn start_on(
        node: MasterNode,
        names: &[String],
        options: MasterOptions,
        tell: Tell,
    ) -> Result<Arc<Masters>, Fatal> {
        let MasterNode { host, env, log, snapshots, group } = node;
        let stores = Stores::holding(GROUP, (log, snapshots));
        let group = of_masters(group, names.len());
        let hosting = Arc::new(Hosting::new(host, env, stores, group, Failure::default()));
        let masters = (1..).map(NodeId).zip(names.iter().map(|name| Name::from(name.as_str()))).collect();
        Masters::start_apart(GROUP, &hosting, masters, options, tell).await
    }

    /// The replica of a master of this process, if it runs.
    pub fn group_of(&self, name: &str) -> Option<Group<MasterMachine>> {
        self.group.running(self.nth(name)?)
    }
}
