//! What holds of the log as a whole: its commands as tables and transcripts, and random runs in which a model of the
//! groups carries out every plan and no shard's data may be lost, doubled or served twice.

mod book;
mod controller;
mod moves;

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate::NodeId;
use quorate::machine::{EntryContext, StateMachine};
use quorate::types::{Index, LogTime, Term};

use super::{Command, Config, ConfigLog, NodeAddresses, NodeChange, Reply};
use crate::names::{ConfigNumber, Gid, ShardId};

fn gid(name: impl ToString) -> Gid {
    Gid::new(name.to_string())
}

fn apply(log: &mut ConfigLog, command: Command) -> Reply {
    let entry = EntryContext { index: Index(1), place: 0, term: Term(1), time: LogTime(0) };
    log.apply(entry, command)
}

fn servers(group: &Gid) -> Vec<String> {
    ["x", "y", "z"].iter().map(|server| format!("{server}{group}")).collect()
}

fn join(names: &[&str]) -> Command {
    let groups = names.iter().map(|name| (gid(name), servers(&gid(name)))).collect();
    Command::Join { groups, shard_count: 10 }
}

fn leave(names: &[&str]) -> Command {
    Command::Leave { gids: names.iter().map(gid).collect() }
}

fn give(shard: u32, name: &str) -> Command {
    Command::Move { shard: ShardId(shard), gid: gid(name) }
}

/// An external configuration from the shards' owners in order; `-` is nobody.
fn set(number: u64, owners: &[&str]) -> Command {
    let owner = |name: &&str| (*name != "-").then(|| gid(name));
    let shards = (0..).map(ShardId).zip(owners.iter().map(owner)).collect();
    Command::Set { number: ConfigNumber(number), shards }
}

fn done(number: u64) -> Reply {
    Reply::Done { number: ConfigNumber(number) }
}

/// The owners in order, `-` for nobody.
fn owners(config: &Config) -> Vec<&str> {
    config.shards.iter().map(|owner| owner.as_ref().map_or("-", |gid| &gid.0)).collect()
}

fn sizes(config: &Config) -> BTreeMap<Gid, usize> {
    config.groups.keys().map(|gid| (gid.clone(), config.shards_of(gid).len())).collect()
}

fn assert_balanced(config: &Config) {
    let sizes = sizes(config);
    if let (Some(most), Some(least)) = (sizes.values().max(), sizes.values().min()) {
        assert!(config.shards.iter().all(Option::is_some), "a shard without a group: {config:?}");
        assert!(most - least <= 1, "unbalanced: {sizes:?}");
    }
}

/// Commands over a few groups and shards, sensible and senseless ones.
fn commands(shards: u32) -> impl Strategy<Value = Command> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", "e"]).prop_map(gid);
    let owner = prop::option::weighted(0.8, name());
    let join = prop::collection::btree_map(name(), Just(vec!["s".to_owned()]), 1..3)
        .prop_map(move |groups| Command::Join { groups, shard_count: shards });
    let leave = prop::collection::btree_set(name(), 1..3).prop_map(|gids| Command::Leave { gids });
    let give = (0..=shards, name()).prop_map(|(shard, gid)| Command::Move { shard: ShardId(shard), gid });
    let set = (1u64..60, prop::collection::vec(owner, shards as usize)).prop_map(|(number, owners)| Command::Set {
        number: ConfigNumber(number),
        shards: (0..).map(ShardId).zip(owners).collect(),
    });
    let servers = || prop::collection::vec((1u64..6).prop_map(|node| format!("n{node}")), 0..3);
    let place = (name(), servers()).prop_map(|(gid, servers)| Command::Place { gid, servers });
    prop_oneof![4 => join, 3 => leave, 3 => give, 3 => set, 2 => place, 3 => node_changes().prop_map(Command::Nodes)]
}

/// Changes of a few nodes, sensible and senseless ones.
fn node_changes() -> impl Strategy<Value = NodeChange> {
    let node = || (0u64..6).prop_map(NodeId);
    let addresses = || {
        (0u64..8).prop_map(|host| NodeAddresses { peer: format!("{host}:1"), client: format!("{host}:2"), http: None })
    };
    let nodes = || prop::collection::btree_set(node(), 0..4);
    let begin = (prop::collection::btree_map(node(), addresses(), 0..4), nodes())
        .prop_map(|(nodes, controllers)| NodeChange::Begin { nodes, controllers });
    prop_oneof![
        begin,
        (node(), addresses()).prop_map(|(node, addresses)| NodeChange::Add { node, addresses }),
        (node(), addresses()).prop_map(|(node, addresses)| NodeChange::Readdress { node, addresses }),
        node().prop_map(|node| NodeChange::Remove { node }),
        (node(), node()).prop_map(|(old, new)| NodeChange::Replace { old, new }),
        nodes().prop_map(|nodes| NodeChange::Controllers { nodes }),
    ]
}
