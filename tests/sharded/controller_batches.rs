//! The controller with several groups in one join or leave, and the next leader's view of it.

use futures::future::join_all;
use quorate_nodes::embedded::ReplicaFault;
use quorate_statemachines::configlog::Query;

use crate::common::eventually;
use crate::controller::{Controller, assert_minimal};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_groups_join_and_leave_in_one_configuration() {
    let controller = Controller::start().await;
    let first = controller.join([1, 2]).await;
    controller.check([1, 2]).await;
    let second = controller.join([3]).await;
    assert_eq!(second.0, first.0 + 1, "one configuration a change");
    controller.check([1, 2, 3]).await;
    controller.leave([1, 3]).await;
    controller.check([2]).await;
    controller.leave([2]).await;
    controller.check([]).await;
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_joins_and_leaves_of_several_groups_all_take_effect() {
    let controller = Controller::start().await;
    join_all((0..10).map(|client| 1000 + client).map(|name| {
        let controller = &controller;
        async move {
            controller.join([name, name + 1000, name + 2000]).await;
            controller.leave([name + 1000, name + 2000]).await;
        }
    }))
    .await;
    controller.check((0..10).map(|client| 1000 + client)).await;
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_groups_become_five_and_three_again_with_the_fewest_moves() {
    let controller = Controller::start().await;
    controller.join([1, 2, 3]).await;
    let three = controller.check([1, 2, 3]).await;
    controller.join([4, 5]).await;
    let five = controller.check([1, 2, 3, 4, 5]).await;
    assert_minimal(&three, &five);
    let moved = three.shard_ids().filter(|shard| three.owner(*shard) != five.owner(*shard)).count();
    assert_eq!(moved, 4, "two shards for each of the new groups");
    controller.leave([2, 4]).await;
    let again = controller.check([1, 3, 5]).await;
    assert_minimal(&five, &again);
    controller.cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_leader_answers_with_the_same_configuration() {
    let controller = Controller::start().await;
    for name in 1..=7 {
        controller.join([name, 100 + name]).await;
    }
    controller.leave([2, 103, 5]).await;
    let before = controller.query(Query::Latest).await;
    let group = controller.cluster.store.controller();
    let leader = group.leader().expect("the controller has answered");
    group.fault(leader, ReplicaFault::Stop).await.unwrap();
    eventually("another replica leads", || {
        let next = group.leader();
        std::future::ready(next.is_some() && next != Some(leader))
    })
    .await;
    assert_eq!(controller.query(Query::Latest).await, before);
    controller.cluster.end().await;
}
