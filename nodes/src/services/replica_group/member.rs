//! One process's replica of one group; the groups that it moves shards from and to are in other processes, and known by the
//! names of their nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate::{Fatal, NodeId};
use quorate_statemachines::Gid;
use quorate_statemachines::kv::KvMachine;

use super::ReplicaGroupMember;
use super::request::Update;
use crate::distributed::{DistributedNode, Roster};
use crate::kv::{DirectClient, Directory, Driver, DriverOptions, Reach, StoreOptions, Target};
use crate::served::Served;
use crate::server::group_id;
use crate::services::{targets, unusable};
use crate::stdio::{ErrorReply, Failure, Init, Outbox};

/// This process's part of a group.
pub(super) struct Member {
    node: DistributedNode,
    own: Gid,
    groups: Arc<Groups>,
    direct: DirectClient,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("group", &self.own).field("node", &self.node).finish_non_exhaustive()
    }
}

/// All groups that this process was told of.
struct Groups(BTreeMap<Gid, Arc<Served<KvMachine>>>);

impl Directory for Groups {
    fn find(&self, gid: &Gid) -> Option<Arc<dyn Reach<KvMachine>>> {
        self.0.get(gid).map(|served| Arc::clone(served) as Arc<dyn Reach<KvMachine>>)
    }
}

/// A member before it is started: what `init` has said makes sense.
pub(super) struct MemberPlan {
    options: ReplicaGroupMember,
    members: Vec<String>,
    roster: Roster,
    outbox: Outbox,
    failure: Failure,
}

impl MemberPlan {
    /// The node that `init` names.
    ///
    /// # Errors
    /// Error 12 when a node is of two groups.
    pub(super) fn new(options: ReplicaGroupMember, init: &Init) -> Result<MemberPlan, ErrorReply> {
        let members = init.node_ids()?;
        let others = || options.peers.iter().filter(|(gid, _)| **gid != options.group);
        let doubly =
            others().find_map(|(gid, names)| names.iter().find(|name| members.contains(name)).map(|name| (gid, name)));
        if let Some((gid, name)) = doubly {
            let text =
                format!("node {name:?} is among `node_ids`, and of {gid} too by --peers: a node is of one group");
            return Err(ErrorReply::malformed(text));
        }
        let names = members.iter().chain(others().flat_map(|(_, names)| names)).map(String::as_str);
        let roster = Roster::of_some(names, init.node_id()?).map_err(targets::failed)?;
        Ok(MemberPlan { members, roster, outbox: init.outbox.clone(), failure: init.failure.clone(), options })
    }

    /// Starts this process's node and its replica; waits for nobody.
    pub(super) async fn start(self) -> Result<Member, ErrorReply> {
        let failure = self.failure.clone();
        self.try_start().await.map_err(|fatal| unusable(&failure, fatal))
    }

    async fn try_start(self) -> Result<Member, Fatal> {
        let MemberPlan { options, members, roster, outbox, failure } = self;
        let ReplicaGroupMember { group: own, peers, distributed } = options;
        let what = format!("replica_group {own}");
        let node = DistributedNode::start(&what, roster, outbox, failure, &distributed, distributed.group()).await?;
        let nodes_of = |names: &[String]| -> BTreeSet<NodeId> {
            names.iter().filter_map(|name| node.roster().node_of(name)).collect()
        };
        let (here, host) = (node.roster().own(), node.hosting().host());
        let served = |gid: &Gid, names: &[String]| {
            (gid.clone(), Arc::new(Served::elsewhere(here, host.remote(group_id(gid), nodes_of(names)))))
        };
        let others = peers.iter().filter(|(gid, _)| **gid != own).map(|(gid, names)| served(gid, names));
        let groups = Arc::new(Groups(others.chain([served(&own, &members)]).collect()));
        host_own(&node, &groups, own.clone(), nodes_of(&members)).await?;
        let direct = DirectClient::new(Arc::clone(node.env()));
        Ok(Member { node, own, groups, direct })
    }
}

impl Member {
    /// This process's node.
    pub(super) fn node(&self) -> &DistributedNode {
        &self.node
    }

    /// Whether requests to `dest` are for this process: its node's name, or its group's.
    pub(super) fn is_asked(&self, dest: &str) -> bool {
        **self.node.roster().name() == *dest || *self.own.0 == *dest
    }

    /// The client of the own group.
    pub(super) fn direct(&self) -> &DirectClient {
        &self.direct
    }

    /// The way to the own group.
    ///
    /// # Errors
    /// None in practice: it is always known.
    pub(super) fn target(&self) -> Result<Target<'_>, ErrorReply> {
        let served = self.groups.0.get(&self.own).ok_or_else(|| targets::unknown(&self.own.0))?;
        Ok(Target { gid: &self.own, group: served.as_ref() })
    }

    /// The name of one of the group's nodes.
    pub(super) fn name_of(&self, node: NodeId) -> Option<String> {
        self.node.roster().names().get(&node).map(ToString::to_string)
    }

    /// Refuses a configuration that names a group which this process was not told of.
    ///
    /// # Errors
    /// Error 12.
    pub(super) fn check(&self, update: &Update) -> Result<(), ErrorReply> {
        match update.others().into_iter().find(|gid| !self.groups.0.contains_key(gid)) {
            Some(gid) => {
                Err(ErrorReply::malformed(format!("--peers does not say where {gid} is")).reason("unknown_group"))
            }
            None => Ok(()),
        }
    }
}

async fn host_own(
    node: &DistributedNode,
    groups: &Arc<Groups>,
    own: Gid,
    voters: BTreeSet<NodeId>,
) -> Result<(), Fatal> {
    let machine = KvMachine::new(StoreOptions::default().session_ttl);
    // Nobody is heard before it is there.
    let replica = node.host(group_id(&own), machine, voters).await?;
    node.listen();
    if let Some(served) = groups.0.get(&own) {
        served.is_here(replica.clone());
    }
    let directory: Arc<dyn Directory> = Arc::<Groups>::clone(groups);
    let driver = Driver::new(own, replica, None, directory, Arc::clone(node.env()), DriverOptions::default());
    node.env().spawn(Box::pin(driver.run()));
    Ok(())
}
