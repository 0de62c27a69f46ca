//! Replicated groups on all nodes: the program of scenarios about the library, and of users' machines.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate::log::{DiskLog, DiskLogOptions};
use quorate::snapshot::DiskSnapshots;
use quorate::{AdminError, ClusterId, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, StateMachine};

use super::life::{AnyProcess, Life, Program};
use super::watched::Watched;
use super::world::{Running, Sim};

/// How long an action may take.
const ACTION: Duration = Duration::from_secs(5);

/// The actions that [`Replicas`] knows, for [`super::Kind::act`].
pub mod actions {
    /// Leadership goes to the target.
    pub const TRANSFER: &str = "leadership transferred";
    /// The target takes a snapshot.
    pub const SNAPSHOT: &str = "snapshot taken";
    /// The target becomes a learner, if it is no member, or else a voter.
    pub const ADD: &str = "member added";
    /// The target is removed, unless too few would be left.
    pub const REMOVE: &str = "member removed";
    /// The target is replaced by a node that is no member.
    pub const REPLACE: &str = "member replaced";
}

/// How groups run in a simulation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The groups, with the numbers 1 to this.
    pub groups: u64,
    /// The nodes that are voters at first, with the numbers 1 to this.
    pub voters: u64,
    /// The options of all groups.
    pub options: GroupOptions,
    /// The options of the logs.
    pub log: DiskLogOptions,
}

impl Settings {
    /// Three voters of one group, whose logs are short and whose segments are small, so that a run sees all of it.
    pub fn small() -> Self {
        Settings {
            groups: 1,
            voters: 3,
            options: GroupOptions {
                heartbeat: Duration::from_millis(50),
                election_timeout: (Duration::from_millis(150), Duration::from_millis(300)),
                lease_margin: Duration::from_millis(30),
                snapshot_log_bytes: 1_000,
                snapshot_keep_entries: 4,
                quiesce_after: None,
                ..GroupOptions::default()
            },
            log: DiskLogOptions {
                segment_bytes: 16 << 10,
                queue_bytes: 4 << 10,
                cache_bytes: 4 << 10,
                reserve_bytes: 4 << 10,
                ..DiskLogOptions::default()
            },
        }
    }
}

/// Makes a machine for a group in a life of a node.
type Make<M> = Box<dyn Fn(&Life, GroupId) -> M + Send + Sync>;

/// The program: a host on each node with a replica of every group.
pub struct Replicas<M> {
    settings: Settings,
    make: Make<M>,
}

/// What runs on a node.
pub struct Process<M> {
    /// Its host.
    pub host: Arc<Host>,
    /// Its replicas.
    pub groups: BTreeMap<GroupId, Group<Watched<M>>>,
    _log: Arc<DiskLog>,
    _machine: PhantomData<M>,
}

impl<M: StateMachine> Replicas<M> {
    /// Groups of the machines that `make` makes.
    pub fn new(settings: Settings, make: impl Fn(&Life, GroupId) -> M + Send + Sync + 'static) -> Self {
        Replicas { settings, make: Box::new(make) }
    }

    /// Starts the nodes and makes their groups; returns once each has a leader. Nodes beyond the voters belong to no group yet.
    pub async fn start(self, sim: &Sim, nodes: u64) {
        let Settings { groups, voters, .. } = self.settings;
        sim.start(self, nodes).await;
        let voters: BTreeSet<NodeId> = (1..=voters).map(NodeId).collect();
        for group in (1..=groups).map(GroupId) {
            let Some(first) = replica::<M>(sim, NodeId(1), group) else { return };
            if let Err(error) = first.1.initialize(voters.clone()).await {
                sim.violate("a group can be made", format!("{group}: {error}"));
            }
        }
        let have_leaders = || (1..=groups).all(|group| sim.leader(GroupId(group)).is_some());
        if !sim.eventually(Duration::from_secs(20), have_leaders).await {
            sim.violate("a group elects a leader", "it has none after 20 s".into());
        }
    }
}

/// A process that runs, and its handle of a group.
type Member<M> = (Running<Process<M>>, Group<Watched<M>>);

/// A node's replica of a group.
pub(super) fn replica<M: StateMachine>(sim: &Sim, node: NodeId, group: GroupId) -> Option<Member<M>> {
    let running = sim.process::<Process<M>>(node)?;
    let group = running.process.groups.get(&group)?.clone();
    Some((running, group))
}

#[async_trait::async_trait]
impl<M: StateMachine> Program for Replicas<M> {
    async fn boot(&self, life: &Life) -> Result<AnyProcess, String> {
        let (fs, env) = (life.fs(), life.env());
        let log = DiskLog::open(Arc::clone(&fs), Arc::clone(&env), Path::new("/log"), self.settings.log.clone());
        let log = log.map_err(|error| format!("log: {error}"))?;
        let host =
            Host::new(HostConfig { node: life.node(), cluster: ClusterId(1) }, Arc::clone(&env), life.transport());
        life.register(&host);
        let mut groups = BTreeMap::new();
        for id in (1..=self.settings.groups).map(GroupId) {
            let snapshots = DiskSnapshots::open(Arc::clone(&fs), Arc::clone(&env), Path::new("/snapshots"), id);
            let spec = GroupSpec {
                id,
                machine: life.watch_machine(id, (self.make)(life, id)),
                log: life.watch_log(id, log.group(id)).await,
                snapshots: Arc::new(snapshots.map_err(|error| format!("snapshots of {id}: {error}"))?),
                options: self.settings.options.clone(),
            };
            let group = host.create_group(spec).await.map_err(|error| error.to_string())?;
            life.watch_group(&group);
            groups.insert(id, group);
        }
        Ok(Arc::new(Process { host, groups, _log: log, _machine: PhantomData::<M> }))
    }

    async fn act(&self, sim: &Sim, name: &str, target: NodeId, amount: u64) -> bool {
        let group = GroupId(1 + amount % self.settings.groups);
        // Asked of the leader, or of whoever runs: it hands on.
        let mut via = sim.leader(group).into_iter().chain(sim.running());
        let Some((running, handle)) = via.find_map(|node| replica::<M>(sim, node, group)) else {
            return false;
        };
        let membership = handle.status().leadership.membership;
        let spares = || sim.nodes().into_iter().filter(|node| !membership.contains(*node));
        let enough = membership.voter_ids().len() > 2;
        let result: Option<Result<(), AdminError>> = match name {
            actions::TRANSFER => running.ask(ACTION, handle.transfer_leadership(target, ACTION)).await,
            actions::SNAPSHOT => match replica::<M>(sim, target, group) {
                Some((running, handle)) => running.ask(ACTION, handle.snapshot(ACTION)).await,
                None => return false,
            },
            actions::ADD if membership.is_voter(target) => return false,
            actions::ADD if membership.contains(target) || amount.is_multiple_of(2) => {
                running.ask(ACTION, handle.add_voter(target, ACTION)).await
            }
            actions::ADD => running.ask(ACTION, handle.add_learner(target, ACTION)).await,
            actions::REMOVE if membership.contains(target) && enough => {
                running.ask(ACTION, handle.remove(target, ACTION)).await
            }
            actions::REPLACE if membership.is_voter(target) => match spares().next() {
                Some(new) => running.ask(ACTION, handle.replace(target, new, ACTION)).await,
                None => return false,
            },
            _ => return false,
        };
        let ended = match &result {
            Some(Ok(())) => "done".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "no answer".to_owned(),
        };
        sim.note(format_args!("== {name} {target}: {ended}"));
        matches!(result, Some(Ok(())))
    }
}
