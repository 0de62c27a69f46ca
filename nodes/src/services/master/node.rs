//! One master on a node that somebody else has made, with clocks, a network and stores of its own: a simulation's, say.

use std::fmt;
use std::sync::Arc;

use quorate::env::Env;
use quorate::log::LogStore;
use quorate::snapshot::SnapshotStore;
use quorate::{Fatal, Group, GroupOptions, Host};
use quorate_statemachines::master::MasterMachine;

use super::masters::{Masters, Tell};
use super::seats::GROUP;
use super::{MasterOptions, of_masters};
use crate::disk::Stores;
use crate::distributed::{DistributedNode, Roster};
use crate::hosting::Hosting;
use crate::stdio::Failure;

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
    /// Starts the master `own` of all `names`, whose nodes are numbered from 1 in the order of the names. Waits for none of the
    /// others.
    ///
    /// # Errors
    /// [`Fatal`] when its replica cannot start.
    pub async fn start_on(
        node: MasterNode,
        own: &str,
        names: &[String],
        options: MasterOptions,
        tell: Tell,
    ) -> Result<Arc<Masters>, Fatal> {
        let MasterNode { host, env, log, snapshots, group } = node;
        let (group, failure) = (of_masters(group, names.len()), Failure::default());
        let election_timeout = group.election_timeout.1;
        let stores = Stores::holding(GROUP, (log, snapshots));
        let hosting = Hosting::new(host, env, stores, group, failure);
        let node = DistributedNode::over(Roster::of_all(names, own)?, hosting);
        Masters::start_apart(Arc::new(node), election_timeout, options, tell).await
    }

    /// The replica of a master of this process, if it runs.
    pub fn group_of(&self, name: &str) -> Option<Group<MasterMachine>> {
        self.group.running(self.nth(name)?)
    }
}
