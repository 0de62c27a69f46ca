//! One process's share of a store whose nodes are processes: a proxy, perhaps a replica of the controller, and the replicas
//! of the groups that name this node.
//!
//! The first three nodes hold the controller. A group is on the servers that `join` has given it; one without servers is on
//! three successive nodes, from its position in the order of first mention on. Every node follows the configuration log from
//! its beginning, so all of them come to the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use quorate::{Fatal, GroupId, NodeId};
use quorate_statemachines::configlog::{Command as Change, Config, ConfigLog, Query};
use quorate_statemachines::kv::KvMachine;
use quorate_statemachines::{ConfigNumber, Gid};

use crate::distributed::DistributedNode;
use crate::kv::{Directory, Driver, DriverOptions, KvClient, Reach, StoreOptions};
use crate::served::Served;
use crate::server::group_id;
use crate::stdio::{ErrorReply, Failure};

/// The configuration log's group.
const CONTROLLER: GroupId = GroupId(1);

/// So many nodes hold the controller, and a group that was given no servers.
const REPLICAS: usize = 3;

/// How long one question to the configuration log may take, and how long one waits for news of it.
const ASK: Duration = Duration::from_secs(1);

/// The pause after the configuration log could not be asked.
const PAUSE: Duration = Duration::from_millis(50);

/// This process's part of the store.
pub(super) struct Share {
    node: Arc<DistributedNode>,
    configs: Arc<Served<ConfigLog>>,
    known: Arc<Known>,
    client: KvClient,
}

/// The groups that configurations have named, wherever they are.
#[derive(Default)]
struct Known(RwLock<BTreeMap<Gid, Arc<Served<KvMachine>>>>);

impl Known {
    fn get(&self, gid: &Gid) -> Option<Arc<Served<KvMachine>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(gid).cloned()
    }

    fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Directory for Known {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.get(gid).map(|served| served as Arc<dyn Reach<KvMachine>>)
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Share {
    /// Begins to do this node's part, and returns at once. `failure` is told when it cannot be done.
    pub(super) fn start(node: DistributedNode, failure: Failure) -> Arc<Share> {
        let controllers: BTreeSet<NodeId> = node.roster().nodes().into_iter().take(REPLICAS).collect();
        let remote = node.hosting().host().remote(CONTROLLER, controllers.clone());
        let configs = Arc::new(Served::elsewhere(node.roster().own(), remote));
        let known = Arc::<Known>::default();
        let client = KvClient::new(
            Arc::clone(node.env()),
            Arc::clone(&configs) as Arc<dyn Reach<ConfigLog>>,
            Arc::clone(&known) as Arc<dyn Directory>,
        );
        let share = Arc::new(Share { node: Arc::new(node), configs, known, client });
        let working = Arc::clone(&share);
        tokio::spawn(async move {
            let fatal = match working.host_controller(controllers).await {
                Ok(()) => working.follow().await,
                Err(fatal) => fatal,
            };
            failure.tell(fatal.0);
        });
        share
    }

    /// The routing client of this node's proxy.
    pub(super) fn client(&self) -> &KvClient {
        &self.client
    }

    /// This process's node.
    pub(super) fn node(&self) -> &Arc<DistributedNode> {
        &self.node
    }

    /// Refuses what cannot be carried out where nodes are processes: a group on servers that there are not.
    ///
    /// # Errors
    /// Error 12.
    pub(super) fn check(&self, change: &Change) -> Result<(), ErrorReply> {
        let Change::Join { groups, .. } = change else { return Ok(()) };
        let roster = self.node.roster();
        match groups.values().flatten().find(|server| roster.node_of(server).is_none()) {
            Some(server) => Err(ErrorReply::malformed(format!("there is no node {server:?}")).reason("unknown_server")),
            None => Ok(()),
        }
    }

    async fn host_controller(&self, controllers: BTreeSet<NodeId>) -> Result<(), Fatal> {
        if controllers.contains(&self.node.roster().own()) {
            let group = self.node.host(CONTROLLER, ConfigLog::default(), controllers).await?;
            self.configs.is_here(group);
        }
        self.node.listen();
        Ok(())
    }

    /// Follows the configuration log, and hosts what it wants hosted here; for ever.
    async fn follow(&self) -> Fatal {
        let (mut at, mut seen) = (ConfigNumber(0), None);
        loop {
            match self.client.configuration(Query::After(at), ASK).await {
                Ok(Some(config)) => {
                    if let Err(fatal) = self.take(&config).await {
                        return fatal;
                    }
                    at = config.number;
                    continue;
                }
                Ok(None) => {
                    let now = self.configs.changed(seen, ASK).await;
                    if now > seen {
                        seen = now;
                        continue;
                    }
                }
                Err(error) => tracing::debug!(%error, "the configuration log does not answer"),
            }
            self.node.env().sleep(PAUSE).await;
        }
    }

    /// Gets to know the groups of a configuration.
    async fn take(&self, config: &Config) -> Result<(), Fatal> {
        for (gid, servers) in &config.groups {
            if self.known.get(gid).is_some() {
                continue;
            }
            let (id, position) = (group_id(gid), self.known.count());
            let roster = self.node.roster();
            let voters = placed(&roster.nodes(), servers.iter().filter_map(|name| roster.node_of(name)), position);
            let served =
                Arc::new(Served::elsewhere(roster.own(), self.node.hosting().host().remote(id, voters.clone())));
            self.known.0.write().unwrap_or_else(PoisonError::into_inner).insert(gid.clone(), Arc::clone(&served));
            if voters.contains(&roster.own()) {
                let ttl = StoreOptions::default().session_ttl;
                let own = self.node.host(id, KvMachine::new(ttl), voters).await?;
                served.is_here(own.clone());
                let configs: Arc<dyn Reach<ConfigLog>> = Arc::<Served<ConfigLog>>::clone(&self.configs);
                let directory: Arc<dyn Directory> = Arc::<Known>::clone(&self.known);
                let env = Arc::clone(self.node.env());
                let driver = Driver::new(gid.clone(), own, Some(configs), directory, env, DriverOptions::default());
                self.node.env().spawn(Box::pin(driver.run()));
            }
        }
        Ok(())
    }
}

/// The nodes of a group: its servers, or successive ones from its position on.
fn placed(nodes: &BTreeSet<NodeId>, servers: impl Iterator<Item = NodeId>, position: usize) -> BTreeSet<NodeId> {
    let servers: BTreeSet<NodeId> = servers.collect();
    if !servers.is_empty() {
        return servers;
    }
    let from = position.checked_rem(nodes.len()).unwrap_or(0);
    nodes.iter().cycle().skip(from).take(REPLICAS.min(nodes.len())).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn a_group_is_on_its_servers_or_on_three_nodes_from_its_position_on() {
        let table = [
            (5, &[][..], 0, &[1, 2, 3][..]),
            (5, &[], 1, &[2, 3, 4]),
            (5, &[], 4, &[5, 1, 2]),
            (5, &[], 5, &[1, 2, 3]),
            (5, &[2, 5], 4, &[2, 5]),
            (2, &[], 1, &[1, 2]),
            (1, &[], 7, &[1]),
        ];
        for (count, servers, position, expected) in table {
            let all: Vec<u64> = (1..=count).collect();
            let found = placed(&nodes(&all), servers.iter().copied().map(NodeId), position);
            assert_eq!(found, nodes(expected), "{count} nodes, servers {servers:?}, position {position}");
        }
    }
}
