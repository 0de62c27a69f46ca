//! Groups that the configuration file names: the masters, and those of the program's own machines. Their nodes stay the same.
//!
//! Promises: a node that has once been started with such a group refuses to start with other nodes for it: two lists would be
//! two groups of one name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use quorate::{GroupId, GroupOptions, Host, NodeId};

use super::config::ServerConfig;
use super::groups::Stores;
use super::hosted::Hosted;
use super::machines::{GroupConfig, Kinds, TABLES, start_all};
use super::masters::{MASTERS, MASTERS_NAME, MastersConfig, Role};
use super::memory::Memory;
use crate::hosting::Hosting;
use crate::stdio::Failure;

/// A group that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FixedGroup {
    pub(crate) name: String,
    pub(crate) id: GroupId,
    pub(crate) nodes: BTreeSet<NodeId>,
}

/// All of them.
pub(crate) fn fixed_groups(config: &ServerConfig) -> Vec<FixedGroup> {
    let masters = config.masters.iter().map(|masters: &MastersConfig| FixedGroup {
        name: MASTERS_NAME.to_owned(),
        id: MASTERS,
        nodes: masters.nodes(),
    });
    let machines = config.groups.iter().map(|group: &GroupConfig| FixedGroup {
        name: group.name.clone(),
        id: group.id(),
        nodes: group.nodes(),
    });
    masters.chain(machines).collect()
}

/// As a server runs them.
pub(super) struct Fixed {
    groups: Vec<FixedGroup>,
    tables: Vec<String>,
    masters: Option<Role>,
    machines: BTreeMap<String, Arc<dyn Hosted>>,
    hostings: Vec<Arc<Hosting>>,
}

impl Fixed {
    /// Starts those that have a replica on this node. One that cannot go on is logged, and the node goes on without it.
    ///
    /// # Errors
    /// When a replica cannot start, or is to be on other nodes than before.
    pub(super) async fn start(
        config: &ServerConfig,
        kinds: Kinds,
        host: &Arc<Host>,
        stores: &Stores,
        memory: &Memory,
    ) -> anyhow::Result<Fixed> {
        let groups = fixed_groups(config);
        for group in &groups {
            memory.fix(&group.name, &group.nodes)?;
        }
        let hostings = Mutex::new(Vec::new());
        let hosting = |options: GroupOptions| {
            let (host, env) = (Arc::clone(host), Arc::clone(&stores.env));
            let hosting = Arc::new(Hosting::new(host, env, stores.fixed(), options, Failure::default()));
            hostings.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&hosting));
            hosting
        };
        let every = config.compare_every();
        let masters = match &config.masters {
            Some(masters) => Some(Role::start(masters, host, config.options(), &hosting, every).await?),
            None => None,
        };
        let machines = start_all(kinds, host, || hosting(config.options()), every).await?;
        let hostings = hostings.into_inner().unwrap_or_else(PoisonError::into_inner);
        let tables = config.groups.iter().filter(|group| group.machine == TABLES).map(|group| group.name.clone());
        Ok(Fixed { groups, tables: tables.collect(), masters, machines, hostings })
    }

    /// The masters, if there are any.
    pub(super) fn masters(&self) -> Option<&Role> {
        self.masters.as_ref()
    }

    /// A group of one of the program's own machines.
    pub(super) fn machine(&self, name: &str) -> Option<Arc<dyn Hosted>> {
        self.machines.get(name).cloned()
    }

    /// The groups of shards of tables, in the order of the configuration.
    pub(super) fn tables(&self) -> &[String] {
        &self.tables
    }

    /// What they are called, and where they are.
    pub(super) fn groups(&self) -> &[FixedGroup] {
        &self.groups
    }

    /// Any of them.
    pub(super) fn get(&self, name: &str) -> Option<Arc<dyn Hosted>> {
        match &self.masters {
            Some(masters) if name == MASTERS_NAME => Some(masters.group()),
            _ => self.machine(name),
        }
    }

    /// From now on their replicas may end.
    pub(super) fn let_go(&self) {
        self.hostings.iter().for_each(|hosting| hosting.let_go());
    }
}
