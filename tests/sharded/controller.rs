//! The controller: configurations are balanced, move little, are never forgotten, and are the same at each replica.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use quorate_nodes::embedded::ReplicaFault;
use quorate_statemachines::configlog::{Command, Config, Query, Refusal, Reply};
use quorate_statemachines::{ConfigNumber, Gid, ShardId};

use crate::common::{Cluster, PATIENCE, SHARDS, Setup};

/// A controller without any shard groups, and what its configurations were.
pub(crate) struct Controller {
    pub(crate) cluster: Cluster,
}

/// The group `name` and its three servers.
pub(crate) fn servers(name: u32) -> (Gid, Vec<String>) {
    (Gid::new(name.to_string()), ["x", "y", "z"].map(|server| format!("{server}{name}")).to_vec())
}

pub(crate) fn gids(names: impl IntoIterator<Item = u32>) -> BTreeSet<Gid> {
    names.into_iter().map(|name| servers(name).0).collect()
}

impl Controller {
    pub(crate) async fn start() -> Controller {
        Controller { cluster: Setup::groups(0).start().await }
    }

    pub(crate) async fn change(&self, command: Command) -> Reply {
        self.cluster.kv().change(&command, PATIENCE).await.expect("the controller answers")
    }

    async fn must(&self, command: Command) -> ConfigNumber {
        match self.change(command.clone()).await {
            Reply::Done { number } => number,
            reply => panic!("{command:?}: {reply:?}"),
        }
    }

    pub(crate) async fn join(&self, names: impl IntoIterator<Item = u32>) -> ConfigNumber {
        let groups = names.into_iter().map(servers).collect();
        self.must(Command::Join { groups, shard_count: SHARDS }).await
    }

    pub(crate) async fn leave(&self, names: impl IntoIterator<Item = u32>) -> ConfigNumber {
        self.must(Command::Leave { gids: gids(names) }).await
    }

    pub(crate) async fn query(&self, query: Query) -> Arc<Config> {
        let answer = self.cluster.kv().configuration(query, PATIENCE).await.expect("the controller answers");
        answer.expect("such a configuration exists")
    }

    /// The newest configuration has exactly these groups with their servers, and is balanced over them.
    pub(crate) async fn check(&self, names: impl IntoIterator<Item = u32>) -> Arc<Config> {
        let config = self.query(Query::Latest).await;
        let expected: BTreeMap<Gid, Vec<String>> = names.into_iter().map(servers).collect();
        assert_eq!(config.groups, expected);
        let sizes: Vec<usize> = expected.keys().map(|gid| config.shards_of(gid).len()).collect();
        if let (Some(most), Some(least)) = (sizes.iter().max(), sizes.iter().min()) {
            assert_eq!(sizes.iter().sum::<usize>(), SHARDS as usize, "a shard belongs to no known group");
            assert!(most - least <= 1, "not balanced: {sizes:?}");
        }
        config
    }
}

/// No shard moved between two groups that are in both configurations.
pub(crate) fn assert_minimal(before: &Config, after: &Config) {
    for shard in before.shard_ids() {
        let (Some(from), Some(to)) = (before.owner(shard), after.owner(shard)) else { continue };
        let both_stay = after.groups.contains_key(from) && before.groups.contains_key(to);
        assert!(from == to || !both_stay, "shard {shard} moved from {from} to {to}, and both stay");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_leaves_balance_and_every_configuration_is_remembered_by_each_replica() {
    let controller = Controller::start().await;
    let mut remembered = vec![controller.check([]).await];
    controller.join([1]).await;
    remembered.push(controller.check([1]).await);
    controller.join([2]).await;
    remembered.push(controller.check([1, 2]).await);
    controller.leave([1]).await;
    remembered.push(controller.check([2]).await);
    controller.leave([2]).await;
    remembered.push(controller.check([]).await);

    let group = controller.cluster.store.controller();
    for replica in 0..group.replicas() {
        group.fault(replica, ReplicaFault::Stop).await.unwrap();
        for config in &remembered {
            assert_eq!(controller.query(Query::At(config.number)).await, *config);
        }
        let latest = remembered.last().unwrap();
        assert_eq!(controller.query(Query::At(ConfigNumber(u64::MAX))).await, *latest);
        group.fault(replica, ReplicaFault::Start).await.unwrap();
    }
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_gives_one_shard_to_one_group_and_makes_a_new_configuration() {
    let controller = Controller::start().await;
    controller.join([503]).await;
    controller.join([504]).await;
    for shard in (0..SHARDS).map(ShardId) {
        let target = if shard.0 < 5 { 503 } else { 504 };
        let before = controller.query(Query::Latest).await;
        let number = controller.must(Command::Move { shard, gid: servers(target).0 }).await;
        assert!(number > before.number);
        let after = controller.query(Query::Latest).await;
        assert_eq!(after.number, number);
        let others = |config: &Config| config.shard_ids().filter(|other| *other != shard).collect::<Vec<_>>();
        assert!(others(&after).iter().all(|other| after.owner(*other) == before.owner(*other)));
    }
    let config = controller.query(Query::Latest).await;
    for shard in config.shard_ids() {
        assert_eq!(config.owner(shard), Some(&servers(if shard.0 < 5 { 503 } else { 504 }).0));
    }
    controller.leave([503]).await;
    controller.leave([504]).await;
    controller.check([]).await;
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_cannot_join_twice_nor_leave_or_get_a_shard_unknown() {
    let controller = Controller::start().await;
    controller.join([1]).await;
    let before = controller.query(Query::Latest).await;
    let (one, two) = (servers(1).0, servers(2).0);
    let again = Command::Join { groups: [servers(1)].into(), shard_count: SHARDS };
    assert_eq!(controller.change(again).await, Reply::Refused(Refusal::KnownGroup(one)));
    let unknown = Reply::Refused(Refusal::UnknownGroup(two.clone()));
    assert_eq!(controller.change(Command::Leave { gids: gids([2]) }).await, unknown);
    assert_eq!(controller.change(Command::Move { shard: ShardId(0), gid: two }).await, unknown);
    assert_eq!(controller.query(Query::Latest).await, before);
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_joins_and_leaves_all_take_effect() {
    let controller = Controller::start().await;
    join_all((0..10).map(|client| 100 + 10 * client).map(|name| {
        let controller = &controller;
        async move {
            controller.join([name + 1000]).await;
            controller.join([name]).await;
            controller.leave([name + 1000]).await;
        }
    }))
    .await;
    controller.check((0..10).map(|client| 100 + 10 * client)).await;
    controller.cluster.end().await;
}

/// Joins and leaves of the groups 11 to 15, one by one, beside the groups that stay.
async fn minimal_transfers(stay: &[u32]) {
    let controller = Controller::start().await;
    controller.join(stay.iter().copied()).await;
    let mut names = stay.to_vec();
    let mut before = controller.check(names.clone()).await;
    for name in 11..16 {
        names.push(name);
        controller.join([name]).await;
        let after = controller.check(names.clone()).await;
        assert_minimal(&before, &after);
        before = after;
    }
    for _ in 11..16 {
        let name = names.remove(stay.len());
        controller.leave([name]).await;
        let after = controller.check(names.clone()).await;
        assert_minimal(&before, &after);
        before = after;
    }
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_takes_shards_only_for_those_who_join_and_a_leave_only_from_those_who_leave() {
    minimal_transfers(&[1, 2, 3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_each_group_has_one_shard_a_join_moves_nothing() {
    let ten: Vec<u32> = (0..10).map(|client| 100 + 10 * client).collect();
    minimal_transfers(&ten).await;
}
