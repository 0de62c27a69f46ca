//! The table of tests of MIT's key-value service on Raft (6.824, lab 3), as far as a black box can be put through it.
//!
//! Leaves out: limits on the size of the log and of snapshots, which are the inside of a node.

use std::sync::Arc;
use std::time::Duration;

use super::strings::{Keys, Strings};
use crate::stdio::latency::{Distribution, Latency};
use crate::stdio::nemesis::Fault;
use crate::stdio::network::Weather;
use crate::stdio::workload::Workload;

/// A row: how many clients on how many nodes, and what goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// One client, nothing goes wrong.
    Basic,
    /// Five clients.
    Concurrent,
    /// Messages are late, and a tenth of them is lost.
    Unreliable,
    /// Another partition every second, one client.
    ManyPartitionsOneClient,
    /// Another partition every second, five clients.
    ManyPartitionsManyClients,
    /// All nodes are killed every five seconds, one client.
    PersistOneClient,
    /// All nodes are killed every five seconds, five clients.
    PersistConcurrent,
    /// Killed, and messages late and lost.
    PersistConcurrentUnreliable,
    /// Killed and partitioned.
    PersistPartition,
    /// Everything at once.
    PersistPartitionUnreliable,
    /// Everything at once, fifteen clients on seven nodes, on shared keys.
    PersistPartitionUnreliableLinearizable,
    /// All nodes are killed every five seconds, twenty clients.
    RecoverManyClients,
}

impl Row {
    /// Clients; whether messages are late and lost, nodes killed, nodes partitioned.
    fn settings(self) -> (usize, bool, bool, bool) {
        match self {
            Row::Basic => (1, false, false, false),
            Row::Concurrent => (5, false, false, false),
            Row::Unreliable => (5, true, false, false),
            Row::ManyPartitionsOneClient => (1, false, false, true),
            Row::ManyPartitionsManyClients => (5, false, false, true),
            Row::PersistOneClient => (1, false, true, false),
            Row::PersistConcurrent => (5, false, true, false),
            Row::PersistConcurrentUnreliable => (5, true, true, false),
            Row::PersistPartition => (5, false, true, true),
            Row::PersistPartitionUnreliable => (5, true, true, true),
            Row::PersistPartitionUnreliableLinearizable => (15, true, true, true),
            Row::RecoverManyClients => (20, false, true, false),
        }
    }

    /// The number of nodes.
    pub fn nodes(self) -> u16 {
        if self == Row::PersistPartitionUnreliableLinearizable { 7 } else { 5 }
    }

    /// The number of clients.
    pub fn clients(self) -> usize {
        self.settings().0
    }

    /// What becomes of messages where the row says so.
    pub fn weather(self, otherwise: Weather) -> Weather {
        let (_, is_unreliable, ..) = self.settings();
        let latency = Latency { mean: Duration::from_millis(13), distribution: Distribution::Uniform };
        if is_unreliable { Weather { latency, lost: 0.1, ..otherwise } } else { otherwise }
    }

    /// What comes and goes.
    pub fn faults(self) -> Vec<Fault> {
        let (_, _, are_killed, are_partitioned) = self.settings();
        let faults = [(Fault::Splits, are_partitioned), (Fault::Blackouts, are_killed)];
        faults.into_iter().filter(|(_, is_on)| *is_on).map(|(fault, _)| fault).collect()
    }

    /// The operations: each client on a key of its own, or all on shared ones.
    pub fn workload(self) -> Arc<dyn Workload> {
        let is_shared = self == Row::PersistPartitionUnreliableLinearizable;
        let keys = if is_shared { Keys::Shared(self.clients() as u64) } else { Keys::Own };
        Arc::new(Strings::kvraft(keys))
    }
}
