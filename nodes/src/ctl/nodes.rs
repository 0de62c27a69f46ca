//! The cluster's nodes: shown, added, removed, and one put in the place of another.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::show::{Said, table};
use super::{Client, first, told, unanswered};
use crate::server::proto::{self, NodesReply, Placement};

/// The pause between two looks at how far a change is.
const LOOK: Duration = Duration::from_millis(300);

/// What to do about nodes.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum NodesCommand {
    /// The cluster's nodes, and who replicates which group.
    Nodes,
    /// A new node joins the cluster; start it with `quorate server --join` then. It replicates nothing before `place`,
    /// `replace-node` or `join` says so.
    AddNode(Addressed),
    /// A node is found elsewhere from now on. It is to listen there itself: its own configuration says where.
    MoveNode(Addressed),
    /// A node that replicates nothing leaves the cluster for good. Its id is never used again, and nobody listens to it.
    RemoveNode {
        /// The node.
        id: u64,
    },
    /// Everything that one node replicates, another one replicates in its place. The old one may be dead.
    ReplaceNode(Replace),
    /// A group is to be replicated by these nodes: `place g1=1,2,4`; `controller` is the configuration log.
    Place {
        /// The group with all its nodes.
        group: String,
        /// How long to wait until it is so, in seconds. It goes on by itself afterwards.
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
}

/// A node and where it is.
#[derive(Args, Clone, Debug)]
pub(super) struct Addressed {
    /// The node's number, which no node of the cluster ever had.
    #[arg(long)]
    id: u64,
    #[command(flatten)]
    at: At,
}

#[derive(Args, Clone, Debug)]
struct At {
    /// Where its peers find it.
    #[arg(long)]
    peer: String,
    /// Where clients find it.
    #[arg(long)]
    client: String,
    /// Where operators find it.
    #[arg(long)]
    http: Option<String>,
}

/// One node in the place of another.
#[derive(Args, Clone, Debug)]
pub(super) struct Replace {
    /// The node that is to replicate nothing any more.
    old: u64,
    /// The node that takes its place.
    new: u64,
    /// If the new one is not known yet: where its peers find it...
    #[arg(long, requires = "client")]
    peer: Option<String>,
    /// ...where clients find it...
    #[arg(long, requires = "peer")]
    client: Option<String>,
    /// ...and where operators find it.
    #[arg(long, requires = "peer")]
    http: Option<String>,
    /// How long to wait until it is done, in seconds. It goes on by itself afterwards.
    #[arg(long, default_value_t = 600)]
    wait: u64,
    /// The old one is removed from the cluster when it is done.
    #[arg(long)]
    remove: bool,
}

/// Does it.
///
/// # Errors
/// What the server said, or that none answered.
pub(super) async fn run(clients: &[(String, Client)], command: &NodesCommand, json: bool) -> anyhow::Result<Said> {
    let mut client = first(clients).await?;
    match command.clone() {
        NodesCommand::Nodes => Ok(show(&ask(&mut client).await?)),
        NodesCommand::AddNode(Addressed { id, at }) => {
            client.add_node(node(id, at)).await.map_err(told)?;
            let text =
                format!("node {id} is known; start it: quorate server --join --node {id} --config ... --data-dir ...");
            Ok(Said { json: json!({ "node": id }), text })
        }
        NodesCommand::MoveNode(Addressed { id, at }) => {
            client.move_node(node(id, at)).await.map_err(told)?;
            Ok(Said { json: json!({ "node": id }), text: format!("node {id} has moved") })
        }
        NodesCommand::RemoveNode { id } => {
            client.remove_node(proto::RemoveNodeRequest { id }).await.map_err(told)?;
            Ok(Said { json: json!({ "removed": id }), text: format!("node {id} is no part of the cluster any more") })
        }
        NodesCommand::ReplaceNode(replace) => replace_node(clients, client, replace, json).await,
        NodesCommand::Place { group, wait } => {
            let group = super::joining(&group)?;
            let name = group.name.clone();
            let number = client.place(group).await.map_err(told)?.into_inner().number;
            let concerns = |placement: &&Placement| placement.group == name;
            let done = |placement: &Placement| placement.settled;
            let done = watch(clients, Duration::from_secs(wait), json, concerns, done).await?;
            Ok(ended(number, done, &format!("{name} is where it is to be")))
        }
    }
}

fn node(id: u64, at: At) -> proto::Node {
    proto::Node { id, peer: at.peer, client: at.client, http: at.http }
}

async fn ask(client: &mut Client) -> anyhow::Result<NodesReply> {
    Ok(client.nodes(proto::NodesRequest {}).await.map_err(unanswered)?.into_inner())
}

async fn replace_node(
    clients: &[(String, Client)],
    mut client: Client,
    replace: Replace,
    json: bool,
) -> anyhow::Result<Said> {
    let Replace { old, new, peer, client: at, http, wait, remove } = replace;
    if let (Some(peer), Some(at)) = (peer, at) {
        let known = ask(&mut client).await?;
        if !known.nodes.iter().filter_map(|member| member.node.as_ref()).any(|node| node.id == new) {
            client.add_node(proto::Node { id: new, peer, client: at, http }).await.map_err(told)?;
        }
    }
    let number = client.replace_node(proto::ReplaceNodeRequest { old, new }).await.map_err(told)?.into_inner().number;
    let concerns = |placement: &&Placement| {
        // Those that the file names stay where they are.
        let moves = |node: &u64| {
            [&placement.wanted, &placement.voters, &placement.learners].iter().any(|nodes| nodes.contains(node))
        };
        !placement.fixed && [old, new].iter().any(moves)
    };
    let done = |placement: &Placement| {
        let takes_part = placement.voters.contains(&old) || placement.learners.contains(&old);
        !takes_part && (!placement.wanted.contains(&new) || placement.voters.contains(&new))
    };
    let done = watch(clients, Duration::from_secs(wait), json, concerns, done).await?;
    if done && remove {
        first(clients).await?.remove_node(proto::RemoveNodeRequest { id: old }).await.map_err(told)?;
    }
    let then = match remove {
        true => format!("node {new} has taken the place of node {old}, which is no part of the cluster any more"),
        false => {
            format!("node {new} has taken the place of node {old}; `remove-node {old}` takes that out of the cluster")
        }
    };
    Ok(ended(number, done, &then))
}

fn ended(number: u64, done: bool, then: &str) -> Said {
    let text = match done {
        true => then.to_owned(),
        false => "it is not done yet, and goes on by itself: `quorate ctl nodes` tells how far it is".to_owned(),
    };
    Said { json: json!({ "number": number, "done": done }), text }
}

/// Tells of all news until the groups that are concerned are done, or the time is up; says whether they are.
async fn watch(
    clients: &[(String, Client)],
    wait: Duration,
    json: bool,
    concerns: impl Fn(&&Placement) -> bool,
    done: impl Fn(&Placement) -> bool,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + wait;
    let mut told_of: BTreeMap<String, String> = BTreeMap::new();
    loop {
        // A server may be gone, and be back, while a group moves.
        if let Ok(mut client) = first(clients).await
            && let Ok(reply) = ask(&mut client).await
        {
            let mut all = true;
            for placement in reply.groups.iter().filter(|placement| concerns(placement)) {
                all &= done(placement);
                let line = progress(placement, done(placement));
                if told_of.insert(placement.group.clone(), line.clone()).as_ref() != Some(&line) && !json {
                    println!("{}: {line}", placement.group);
                }
            }
            if all {
                return Ok(true);
            }
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn progress(placement: &Placement, done: bool) -> String {
    let Placement { wanted, voters, learners, leader, .. } = placement;
    if done {
        return format!("done, replicated by {voters:?}");
    }
    let learns = if learners.is_empty() { String::new() } else { format!(", {learners:?} catch up") };
    let led = if leader.is_none() { ", without a leader" } else { "" };
    format!("replicated by {voters:?}{learns}{led}; to be {wanted:?}")
}

/// Both tables.
pub(super) fn show(reply: &NodesReply) -> Said {
    let mut nodes = table(&["node", "peers", "clients", "operators", "state", "replicates"]);
    let mut json_nodes = Vec::new();
    for member in &reply.nodes {
        let Some(node) = &member.node else { continue };
        let groups: Vec<&str> = reply
            .groups
            .iter()
            .filter(|group| group.voters.contains(&node.id))
            .map(|group| group.group.as_str())
            .collect();
        let state = if member.connected { "connected" } else { "not connected" };
        nodes.add_row([
            node.id.to_string(),
            node.peer.clone(),
            node.client.clone(),
            node.http.clone().unwrap_or_default(),
            state.to_owned(),
            groups.join(" "),
        ]);
        json_nodes.push(json!({
            "id": node.id, "peer": node.peer, "client": node.client, "http": node.http, "connected": member.connected,
            "groups": groups,
        }));
    }
    let mut groups = table(&["group", "to be on", "voters", "learners", "leader", "state"]);
    let mut json_groups = Vec::new();
    for placement in &reply.groups {
        let Placement { group, wanted, voters, learners, leader, settled, left, .. } = placement;
        let state = match (settled, leader) {
            (true, _) => "settled",
            (false, None) => "without a leader",
            (false, Some(_)) => "moving",
        };
        groups.add_row([
            if *left { format!("{group} (left)") } else { group.clone() },
            format!("{wanted:?}"),
            format!("{voters:?}"),
            format!("{learners:?}"),
            leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
            state.to_owned(),
        ]);
        json_groups.push(json!({
            "group": group, "wanted": wanted, "voters": voters, "learners": learners, "leader": leader,
            "settled": settled, "left": left,
        }));
    }
    let removed = match reply.removed.is_empty() {
        true => String::new(),
        false => format!("\nids that are used up: {:?}", reply.removed),
    };
    Said {
        json: json!({ "nodes": json_nodes, "removed": reply.removed, "groups": Value::Array(json_groups) }),
        text: format!("{nodes}\n{groups}{removed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_on_its_way_says_where_it_is_and_where_it_goes() {
        let mut placement = Placement {
            group: "g1".into(),
            wanted: vec![1, 2, 4],
            voters: vec![1, 2, 3],
            learners: vec![4],
            leader: Some(1),
            ..Placement::default()
        };
        assert_eq!(progress(&placement, false), "replicated by [1, 2, 3], [4] catch up; to be [1, 2, 4]");
        placement.leader = None;
        assert!(progress(&placement, false).contains("without a leader"));
        let reply = NodesReply { groups: vec![placement], ..NodesReply::default() };
        let said = show(&reply);
        assert!(said.text.contains("without a leader"), "{}", said.text);
        assert_eq!(said.json["groups"][0]["learners"], json!([4]));
    }
}
