//! The address book, and groups that get other servers.

use std::sync::Arc;

use quorate::NodeId;
use quorate::machine::{decode, encode};
use quorate::snapshot::Records;

use super::controller::{Stream, pieces};
use super::*;
use crate::configlog::{Book, NodeAddresses, NodeChange, NodeRefusal, Refusal, plan, server_name, server_node};

fn addresses(node: u64) -> NodeAddresses {
    let at = |port: u64| format!("host{node}:{port}");
    NodeAddresses { peer: at(1), client: at(2), http: (node == 1).then(|| at(3)) }
}

fn change(log: &mut ConfigLog, change: NodeChange) -> Reply {
    apply(log, Command::Nodes(change))
}

fn begin(nodes: &[u64]) -> NodeChange {
    let nodes = nodes.iter().map(|node| (NodeId(*node), addresses(*node)));
    NodeChange::Begin { nodes: nodes.collect(), controllers: [1, 2, 3].map(NodeId).into() }
}

fn add(node: u64) -> NodeChange {
    NodeChange::Add { node: NodeId(node), addresses: addresses(node) }
}

fn remove(node: u64) -> NodeChange {
    NodeChange::Remove { node: NodeId(node) }
}

fn replace(old: u64, new: u64) -> NodeChange {
    NodeChange::Replace { old: NodeId(old), new: NodeId(new) }
}

fn names(nodes: &[u64]) -> Vec<String> {
    nodes.iter().map(|node| server_name(NodeId(*node))).collect()
}

fn join_on(name: &str, nodes: &[u64]) -> Command {
    Command::Join { groups: [(gid(name), names(nodes))].into(), shard_count: 4 }
}

/// Three nodes, all of them controllers, with a group on each of them.
fn begun() -> ConfigLog {
    let mut log = ConfigLog::new();
    assert_eq!(change(&mut log, begin(&[1, 2, 3])), done(0));
    assert_eq!(apply(&mut log, join_on("g1", &[1, 2, 3])), done(1));
    log
}

fn refused(log: &mut ConfigLog, command: Command) -> NodeRefusal {
    let before = log.clone();
    let reply = apply(log, command);
    assert_eq!(*log, before, "a refusal changes nothing");
    match reply {
        Reply::Refused(Refusal::Nodes(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_book_is_begun_once() {
    let mut log = ConfigLog::new();
    assert_eq!(refused(&mut log, Command::Nodes(add(4))), NodeRefusal::NotBegun);
    assert_eq!(refused(&mut log, Command::Nodes(replace(1, 2))), NodeRefusal::NotBegun);
    change(&mut log, begin(&[1, 2, 3]));
    let first = Arc::clone(log.book());
    assert_eq!(first.controllers, [1, 2, 3].map(NodeId).into());
    change(&mut log, begin(&[1, 2, 3, 4]));
    assert_eq!(*log.book(), first);
    assert_eq!(log.latest().number, ConfigNumber(0), "no configuration comes of it");
}

#[test]
fn an_id_is_never_used_again() {
    let mut log = begun();
    change(&mut log, add(4));
    assert_eq!(refused(&mut log, Command::Nodes(add(4))), NodeRefusal::Known(NodeId(4)));
    assert_eq!(refused(&mut log, Command::Nodes(add(0))), NodeRefusal::Zero);
    assert_eq!(change(&mut log, remove(4)), done(1));
    assert_eq!(refused(&mut log, Command::Nodes(add(4))), NodeRefusal::Removed(NodeId(4)));
    assert_eq!(refused(&mut log, Command::Nodes(remove(4))), NodeRefusal::Removed(NodeId(4)));
    assert_eq!(refused(&mut log, join_on("g2", &[1, 4])), NodeRefusal::Removed(NodeId(4)));
    assert_eq!(refused(&mut log, join_on("g2", &[5])), NodeRefusal::Unknown(NodeId(5)));
}

#[test]
fn no_two_nodes_have_one_address() {
    let mut log = begun();
    let taken = NodeChange::Add { node: NodeId(4), addresses: NodeAddresses { http: None, ..addresses(2) } };
    let refusal = NodeRefusal::AddressTaken { address: "host2:1".into(), node: NodeId(2) };
    assert_eq!(refused(&mut log, Command::Nodes(taken)), refusal);
    let elsewhere = NodeChange::Readdress { node: NodeId(2), addresses: addresses(9) };
    change(&mut log, elsewhere.clone());
    let moved = Arc::clone(log.book());
    assert_eq!(moved.nodes[&NodeId(2)], addresses(9));
    change(&mut log, elsewhere);
    assert_eq!(*log.book(), moved, "nothing new");
}

#[test]
fn a_node_leaves_only_when_nothing_is_to_be_replicated_on_it() {
    let mut log = begun();
    change(&mut log, add(4));
    apply(&mut log, join_on("g2", &[1, 2, 4]));
    let replicates = |node, group: &str| NodeRefusal::Replicates { node: NodeId(node), group: group.into() };
    assert_eq!(refused(&mut log, Command::Nodes(remove(4))), replicates(4, "g2"));
    // A group that has left still has what nobody took from it.
    apply(&mut log, leave(&["g2"]));
    assert_eq!(refused(&mut log, Command::Nodes(remove(4))), replicates(4, "g2"));
    assert_eq!(apply(&mut log, Command::Place { gid: gid("g2"), servers: names(&[1, 2, 3]) }), done(3));
    assert_eq!(change(&mut log, remove(4)), done(3));
    let controllers = NodeChange::Controllers { nodes: [1, 2].map(NodeId).into() };
    assert_eq!(refused(&mut log, Command::Nodes(remove(3))), replicates(3, "g1"));
    assert_eq!(apply(&mut log, Command::Place { gid: gid("g1"), servers: names(&[1, 2]) }), done(4));
    assert_eq!(refused(&mut log, Command::Nodes(remove(3))), replicates(3, "the configuration log"));
    change(&mut log, controllers);
    assert_eq!(refused(&mut log, Command::Nodes(remove(3))), replicates(3, "g2"));
}

#[test]
fn a_replacement_puts_one_node_in_the_place_of_another_everywhere_at_once() {
    let mut log = begun();
    change(&mut log, add(4));
    apply(&mut log, join_on("g2", &[2, 3, 4]));
    apply(&mut log, join_on("g3", &[1, 3]));
    apply(&mut log, leave(&["g3"]));
    let before = log.latest();
    assert_eq!(refused(&mut log, Command::Nodes(replace(3, 3))), NodeRefusal::Itself(NodeId(3)));
    assert_eq!(refused(&mut log, Command::Nodes(replace(3, 5))), NodeRefusal::Unknown(NodeId(5)));
    assert_eq!(change(&mut log, replace(3, 4)), done(5));
    let after = log.latest();
    assert_eq!(after.groups[&gid("g1")], names(&[1, 2, 4]));
    assert_eq!(after.groups[&gid("g2")], names(&[2, 4]), "it was there already");
    assert_eq!(log.book().left[&gid("g3")], names(&[1, 4]));
    assert_eq!(log.book().controllers, [1, 2, 4].map(NodeId).into());
    // No shard is touched by it, and a group has it behind it at once.
    assert_eq!((&after.shards, &after.holders), (&before.shards, &before.holders));
    let step = plan(&before, &after, &gid("g1")).expect("it follows");
    assert_eq!(step.shards, before.shards_of(&gid("g1")));
    assert!(step.sources.is_empty() && step.targets.is_empty(), "{step:?}");
    assert_eq!(change(&mut log, replace(3, 4)), done(5), "again: nothing is left to replace");
    assert_eq!(change(&mut log, remove(3)), done(5));
}

#[test]
fn a_group_that_comes_back_is_no_longer_one_that_left() {
    let mut log = begun();
    apply(&mut log, join_on("g2", &[1]));
    apply(&mut log, leave(&["g2"]));
    assert_eq!(log.book().left, [(gid("g2"), names(&[1]))].into());
    apply(&mut log, join_on("g2", &[2]));
    assert!(log.book().left.is_empty());
    assert_eq!(apply(&mut log, Command::Place { gid: gid("g2"), servers: names(&[2]) }), done(4), "nothing new");
    let nobody = Command::Place { gid: gid("g2"), servers: Vec::new() };
    assert_eq!(refused(&mut log, nobody), NodeRefusal::Nobody);
    let unknown = Command::Place { gid: gid("g9"), servers: names(&[2]) };
    assert_eq!(apply(&mut log, unknown), Reply::Refused(Refusal::UnknownGroup(gid("g9"))));
}

#[test]
fn only_names_of_nodes_are_read_as_nodes() {
    assert_eq!(server_node(&server_name(NodeId(17))), Some(NodeId(17)));
    for name in ["server1", "n", "n01", "n1x", "17", ""] {
        assert_eq!(server_node(name), None, "{name}");
    }
}

#[test]
fn a_snapshot_has_the_book_and_one_from_before_there_was_a_book_is_read() {
    let mut log = begun();
    apply(&mut log, join_on("g2", &[2]));
    apply(&mut log, leave(&["g2"]));
    let mut restored = ConfigLog::new();
    restored.restore(&mut Stream(pieces(&log))).expect("it is whole");
    assert_eq!(restored, log);

    let configs: Vec<Arc<Config>> = (1..=3).map(|number| log.at(ConfigNumber(number))).collect();
    let mut old = Records::view(move || configs.clone().into_iter()).open();
    let mut from_old = ConfigLog::new();
    from_old.restore(old.as_mut()).expect("it was a snapshot once");
    assert_eq!(from_old.latest(), log.latest());
    assert_eq!(*from_old.book(), Arc::new(Book { left: log.book().left.clone(), ..Book::default() }));
}

#[test]
fn commands_that_are_on_disks_keep_their_bytes() {
    let join = Command::Join { groups: [(gid("a"), vec!["n1".into()])].into(), shard_count: 300 };
    let table: [(Command, &[u8]); 6] = [
        (join, b"\x00\x01\x01a\x01\x02n1\xac\x02"),
        (leave(&["a"]), b"\x01\x01\x01a"),
        (give(2, "a"), b"\x02\x02\x01a"),
        (set(5, &["a"]), b"\x03\x05\x01\x00\x01\x01a"),
        (Command::Place { gid: gid("a"), servers: names(&[2]) }, b"\x04\x01a\x01\x02n2"),
        (Command::Nodes(replace(1, 2)), b"\x05\x04\x01\x02"),
    ];
    for (command, bytes) in table {
        assert_eq!(encode(&command), bytes, "{command:?}");
        assert_eq!(decode::<Command>(bytes), Ok(command));
    }
}
