//! A running store, and a test's hand on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate::transport::MemoryNetwork;
use quorate_nodes::embedded::{EmbeddedGroup, ReplicaFault};
use quorate_nodes::kv::{KvClient, KvError, ShardedStore};
use quorate_statemachines::configlog::{Command, Config, Query, Refusal, Reply};
use quorate_statemachines::kv::KvMachine;
use quorate_statemachines::{ConfigNumber, Gid};

use super::{Client, Expected, PATIENCE, SHARDS, Seed, gid};

/// A running store.
pub(crate) struct Cluster {
    pub(crate) store: Arc<ShardedStore>,
    pub(crate) seed: Seed,
    /// The length of log at which snapshots are taken, if they are.
    pub(super) log_bytes: Option<u64>,
}

impl Cluster {
    pub(super) fn new(store: Arc<ShardedStore>, seed: Seed, log_bytes: Option<u64>) -> Cluster {
        Cluster { store, seed, log_bytes }
    }

    pub(crate) fn network(&self) -> &MemoryNetwork {
        self.store.world().network()
    }

    pub(crate) fn kv(&self) -> &Arc<KvClient> {
        self.store.client()
    }

    /// A new client.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.kv())
    }

    pub(crate) fn group(&self, nth: usize) -> Arc<EmbeddedGroup<KvMachine>> {
        self.store.group(&gid(nth)).expect("the group was started")
    }

    /// Groups join, in one configuration.
    pub(crate) async fn join(&self, groups: impl IntoIterator<Item = usize>) -> ConfigNumber {
        let gids: BTreeSet<Gid> = groups.into_iter().map(gid).collect();
        let groups: BTreeMap<_, _> = gids.iter().map(|gid| (gid.clone(), Vec::new())).collect();
        let is_done = |config: &Config| gids.iter().all(|gid| config.groups.contains_key(gid));
        change(self.kv(), Command::Join { groups, shard_count: SHARDS }, is_done).await
    }

    /// Groups leave, in one configuration.
    pub(crate) async fn leave(&self, groups: impl IntoIterator<Item = usize>) -> ConfigNumber {
        let gids: BTreeSet<Gid> = groups.into_iter().map(gid).collect();
        let is_done = |config: &Config| !gids.iter().any(|gid| config.groups.contains_key(gid));
        change(self.kv(), Command::Leave { gids: gids.clone() }, is_done).await
    }

    /// The newest configuration.
    pub(crate) async fn config(&self) -> Arc<Config> {
        latest(self.kv()).await
    }

    /// Does something to one replica.
    pub(crate) async fn fault(&self, group: usize, replica: usize, fault: ReplicaFault) {
        self.store.fault(&gid(group), replica, fault).await.expect("a replica starts again from its stores");
    }

    /// Does something to all replicas of these groups.
    pub(crate) async fn fault_all(&self, groups: impl IntoIterator<Item = usize>, fault: ReplicaFault) {
        let replicas = |group: usize| (0..self.group(group).replicas()).map(move |replica| (group, replica));
        let faults = groups.into_iter().flat_map(replicas);
        join_all(faults.map(|(group, replica)| self.fault(group, replica, fault))).await;
    }

    /// Puts these values, several at a time.
    pub(crate) async fn put_all(&self, expected: &Expected) {
        join_all(expected.iter().map(|(key, value)| async move { self.client().put(key, value).await })).await;
    }

    /// Every key holds exactly what it must.
    pub(crate) async fn check_all(&self, expected: &Expected) {
        let client = self.client();
        join_all(expected.iter().map(|(key, value)| client.check(key, value))).await;
    }

    /// Stops everything.
    pub(crate) async fn end(self) {
        self.store.shutdown().await;
    }
}

/// The newest configuration.
pub(super) async fn latest(kv: &KvClient) -> Arc<Config> {
    let config = kv.configuration(Query::Latest, PATIENCE).await.expect("the controller answers");
    config.expect("there is always a latest configuration")
}

/// Has the controller carry out a change, whatever becomes of single attempts; `is_done` tells from a configuration that
/// an attempt of unknown outcome was carried out.
pub(super) async fn change(kv: &KvClient, command: Command, is_done: impl Fn(&Config) -> bool) -> ConfigNumber {
    let mut in_doubt = false;
    loop {
        match kv.change(&command, Duration::from_secs(10)).await {
            Ok(Reply::Done { number }) => return number,
            Ok(Reply::Refused(Refusal::KnownGroup(_) | Refusal::UnknownGroup(_))) if in_doubt => {}
            Ok(reply) => panic!("{command:?}: {reply:?}"),
            Err(KvError::Unknown(_)) => in_doubt = true,
            Err(error) => panic!("{command:?}: {error}"),
        }
        let config = latest(kv).await;
        if in_doubt && is_done(&config) {
            return config.number;
        }
    }
}
