//! The cluster as operators see and change it: who serves which shard, which nodes there are, and who replicates what.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate::NodeId;
use quorate_statemachines::configlog::{self, Command, NodeChange, NodeRefusal, Query, Refusal, server_node};
use quorate_statemachines::{Gid, ShardId};
use tonic::Status;

use super::Api;
use crate::server::groups::{CONTROLLER_NAME, group_id};
use crate::server::nodes;
use crate::server::outcome::{TIMEOUT, malformed, rejected, status_of};
use crate::server::proto;

/// The pause before a change is tried again that came too early.
const PAUSE: Duration = Duration::from_millis(50);

/// Has the configuration log make a change, and gives the number of the configuration that counts now.
async fn configure(api: &Api, command: &Command) -> Result<u64, Status> {
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    loop {
        match api.0.client.change(command, TIMEOUT).await.map_err(|error| status_of(&error))? {
            configlog::Reply::Done { number } => return Ok(number.0),
            // The first leader is about to write them down.
            configlog::Reply::Refused(Refusal::Nodes(NodeRefusal::NotBegun))
                if tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            configlog::Reply::NotApplied { current } => {
                return Err(rejected(Status::failed_precondition(format!("the current configuration is {current}"))));
            }
            configlog::Reply::Refused(refusal) => {
                return Err(rejected(Status::failed_precondition(refusal.to_string())));
            }
        }
    }
}

async fn numbered(api: &Api, command: &Command) -> Result<proto::Numbered, Status> {
    Ok(proto::Numbered { number: configure(api, command).await? })
}

async fn done(api: &Api, command: &Command) -> Result<proto::Done, Status> {
    configure(api, command).await.map(|_| proto::Done {})
}

/// Who replicates what, as far as the nodes answer.
async fn placements(api: &Api) -> Result<nodes::Placements, Status> {
    let parts = &api.0;
    let book = parts.client.book(TIMEOUT).await.map_err(|error| status_of(&error))?;
    let config = parts.client.configuration(Query::Latest, TIMEOUT).await.map_err(|error| status_of(&error))?;
    Ok(nodes::placements(&parts.groups, book, config.unwrap_or_default()).await)
}

pub(super) async fn join(api: &Api, request: proto::JoinRequest) -> Result<proto::Numbered, Status> {
    let proto::JoinRequest { groups, shards } = request;
    let refused = |text: String| Err(rejected(Status::invalid_argument(text)));
    let mut joining = BTreeMap::new();
    for proto::Group { name, nodes } in groups {
        if name == CONTROLLER_NAME {
            return refused(format!("{name} is the configuration log's name"));
        }
        if nodes.is_empty() {
            return refused(format!("group {name} has no nodes"));
        }
        let gid = Gid::new(name);
        let fixed = api.0.groups.fixed().groups();
        if let Some(other) = fixed.iter().find(|other| other.name == *gid.0 || other.id == group_id(&gid)) {
            return refused(format!("group {gid} needs another name: the configuration has a group {}", other.name));
        }
        let same_id = |other: &Gid| *other != gid && group_id(other) == group_id(&gid);
        if let Some(other) = api.0.groups.known().all().keys().chain(joining.keys()).find(|other| same_id(other)) {
            return refused(format!("group {gid} needs another name: it is too like {other}"));
        }
        // The log refuses those that are none of the cluster's, once it knows them.
        let begun = api.0.groups.memory().book().is_begun();
        let beginning = &api.0.groups.beginning().nodes;
        if let Some(stranger) = nodes.iter().find(|node| !begun && !beginning.contains_key(&NodeId(**node))) {
            return refused(format!("{} is none of the cluster's nodes", NodeId(*stranger)));
        }
        let servers = nodes::servers(nodes);
        if joining.insert(gid.clone(), servers).is_some() {
            return refused(format!("group {gid} is named twice"));
        }
    }
    numbered(api, &Command::Join { groups: joining, shard_count: shards }).await
}

pub(super) async fn leave(api: &Api, request: proto::LeaveRequest) -> Result<proto::Numbered, Status> {
    let gids = request.groups.into_iter().map(Gid::new).collect();
    numbered(api, &Command::Leave { gids }).await
}

pub(super) async fn r#move(api: &Api, request: proto::MoveRequest) -> Result<proto::Numbered, Status> {
    let proto::MoveRequest { shard, group } = request;
    numbered(api, &Command::Move { shard: ShardId(shard), gid: Gid::new(group) }).await
}

pub(super) async fn configuration(api: &Api) -> Result<proto::ConfigurationReply, Status> {
    let answer = api.0.client.configuration(Query::Latest, TIMEOUT).await.map_err(|error| status_of(&error))?;
    let config = answer.unwrap_or_default();
    let shard = |gid: &Option<Gid>| gid.as_ref().map(ToString::to_string).unwrap_or_default();
    let group = |(gid, servers): (&Gid, &Vec<String>)| proto::Group {
        name: gid.to_string(),
        nodes: servers.iter().filter_map(|name| server_node(name)).map(|node| node.0).collect(),
    };
    Ok(proto::ConfigurationReply {
        number: config.number.0,
        shards: config.shards.iter().map(shard).collect(),
        groups: config.groups.iter().map(group).collect(),
    })
}

pub(super) async fn nodes(api: &Api) -> Result<proto::NodesReply, Status> {
    let peers = api.0.transport.peers();
    let connected = |node: NodeId| node == api.0.node || peers.get(&node).is_some_and(|peer| peer.connected);
    Ok(placements(api).await?.reply(connected))
}

pub(super) async fn add_node(api: &Api, request: proto::Node) -> Result<proto::Done, Status> {
    let (node, addresses) = nodes::addressed(request).map_err(malformed)?;
    done(api, &Command::Nodes(NodeChange::Add { node, addresses })).await
}

pub(super) async fn move_node(api: &Api, request: proto::Node) -> Result<proto::Done, Status> {
    let (node, addresses) = nodes::addressed(request).map_err(malformed)?;
    done(api, &Command::Nodes(NodeChange::Readdress { node, addresses })).await
}

pub(super) async fn remove_node(api: &Api, request: proto::RemoveNodeRequest) -> Result<proto::Done, Status> {
    let node = NodeId(request.id);
    // Not wanted is not enough: until its group has let it go, its vote may be needed.
    if let Some(group) = placements(api).await?.replicated_by(node) {
        let text = format!("{node} still replicates {group}: another node must take its place first");
        return Err(rejected(Status::failed_precondition(text)));
    }
    done(api, &Command::Nodes(NodeChange::Remove { node })).await
}

pub(super) async fn replace_node(api: &Api, request: proto::ReplaceNodeRequest) -> Result<proto::Numbered, Status> {
    let proto::ReplaceNodeRequest { old, new } = request;
    numbered(api, &Command::Nodes(NodeChange::Replace { old: NodeId(old), new: NodeId(new) })).await
}

pub(super) async fn place(api: &Api, request: proto::Group) -> Result<proto::Numbered, Status> {
    let proto::Group { name, nodes } = request;
    if nodes.is_empty() {
        return Err(malformed(format!("group {name} needs a node")));
    }
    let command = if name == CONTROLLER_NAME {
        Command::Nodes(NodeChange::Controllers { nodes: nodes.into_iter().map(NodeId).collect() })
    } else {
        Command::Place { gid: Gid::new(name), servers: nodes::servers(nodes) }
    };
    numbered(api, &command).await
}
