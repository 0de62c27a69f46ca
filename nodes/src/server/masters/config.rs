//! `[masters]` in the configuration: on which nodes the masters are, and how long they wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use quorate::{GroupOptions, NodeId};
use quorate_statemachines::configlog::server_name;
use quorate_statemachines::master::Name;
use serde::{Deserialize, Serialize};

use crate::services::MasterOptions;

/// Which nodes are masters: one of them is the primary, the others are its shadows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MastersConfig {
    /// The nodes. They are chosen once: a server refuses to start with others than its data has.
    pub nodes: Vec<u64>,
    /// What the masters are called, in the order of the nodes; `n1` on node 1 and so on when it is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Of two masters, one goes on alone when the other was silent for so many milliseconds; 10,000 when it is missing. Three or
    /// more elect, which is quicker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_timeout_ms: Option<u64>,
    /// A chunk server that was silent for so many milliseconds is lost; 30,000 when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunkserver_timeout_ms: Option<u64>,
}

impl MastersConfig {
    /// What cannot be.
    pub(in crate::server) fn check(&self, nodes: &BTreeSet<u64>) -> anyhow::Result<()> {
        let own: BTreeSet<u64> = self.nodes.iter().copied().collect();
        ensure!(!own.is_empty(), "masters: there is none");
        ensure!(own.len() == self.nodes.len(), "masters: a node is named twice");
        if let Some(stranger) = own.difference(nodes).next() {
            anyhow::bail!("masters: {stranger} is none of the nodes");
        }
        if !self.names.is_empty() {
            ensure!(self.names.len() == self.nodes.len(), "masters: as many names as nodes, or none");
            let names: BTreeSet<&String> = self.names.iter().collect();
            ensure!(names.len() == self.names.len(), "masters: a name is given twice");
        }
        ensure!(self.failure_timeout_ms != Some(0), "masters: failure_timeout_ms is 0");
        ensure!(self.chunkserver_timeout_ms != Some(0), "masters: chunkserver_timeout_ms is 0");
        Ok(())
    }

    /// The nodes.
    pub(in crate::server) fn nodes(&self) -> BTreeSet<NodeId> {
        self.nodes.iter().copied().map(NodeId).collect()
    }

    /// The masters by their nodes.
    pub(super) fn seats(&self) -> BTreeMap<NodeId, Name> {
        let names = self.names.iter().map(|name| Some(Name::from(name.as_str()))).chain(std::iter::repeat(None));
        let seat = |(node, name): (&u64, Option<Name>)| {
            let node = NodeId(*node);
            (node, name.unwrap_or_else(|| server_name(node).into()))
        };
        self.nodes.iter().zip(names).map(seat).collect()
    }

    /// How the masters run beside groups that run so.
    pub(super) fn options(&self, group: &GroupOptions) -> MasterOptions {
        let defaults = MasterOptions::default();
        let millis = |given: Option<u64>, default| given.map_or(default, Duration::from_millis);
        MasterOptions {
            failure_timeout: millis(self.failure_timeout_ms, defaults.failure_timeout),
            chunkserver_timeout: millis(self.chunkserver_timeout_ms, defaults.chunkserver_timeout),
            election_timeout: group.election_timeout.1,
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_called_after_their_nodes_unless_they_are_named() {
        let mut config = MastersConfig { nodes: vec![3, 1], ..MastersConfig::default() };
        let names =
            |config: &MastersConfig| config.seats().into_values().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&config), ["n1", "n3"]);
        config.names = vec!["a".into(), "b".into()];
        assert_eq!(names(&config), ["b", "a"]);
    }

    #[test]
    fn masters_that_cannot_be_are_refused_by_name() {
        let refusal = |nodes: &[u64], names: &[&str]| {
            let names = names.iter().map(ToString::to_string).collect();
            let config = MastersConfig { nodes: nodes.to_vec(), names, ..MastersConfig::default() };
            config.check(&[1, 2, 3].into()).map_err(|error| error.to_string()).err().unwrap_or_default()
        };
        assert_eq!(refusal(&[1, 2], &["a", "b"]), "");
        assert!(refusal(&[], &[]).contains("none"));
        assert!(refusal(&[1, 1], &[]).contains("twice"));
        assert!(refusal(&[1, 4], &[]).contains("4 is none of the nodes"));
        assert!(refusal(&[1, 2], &["a"]).contains("as many names"));
        assert!(refusal(&[1, 2], &["a", "a"]).contains("twice"));
    }
}
