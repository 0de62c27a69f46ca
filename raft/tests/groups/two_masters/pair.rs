//! Two masters and their service: whoever leads claims the next epoch, then serves; a survivor takes its peer in again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use quorate::snapshot::MemorySnapshots;
use quorate::transport::MemoryNetwork;
use quorate::{
    ClusterId, Consistency, Evidence, Fatal, Group, GroupId, GroupOptions, GroupSpec, Host, HostConfig, NodeId, Role,
    TakeOver, Term, WriteOptions,
};

use super::chair::{Chair, Command, Reply};
use super::disk::{Disk, DiskLog};
use super::record::Record;
use crate::common::World;

pub(crate) const A: NodeId = NodeId(1);
pub(crate) const B: NodeId = NodeId(2);
pub(crate) const GROUP: GroupId = GroupId(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// The rule: a node may go on alone only if the newest claim in its own log is the other's.
pub(crate) fn rule(evidence: &Evidence<'_, Chair>) -> bool {
    evidence.machine.holder.is_some_and(|holder| holder != evidence.node)
}

/// Two nodes, running or not.
pub(crate) struct Pair {
    pub(crate) world: World,
    pub(crate) network: MemoryNetwork,
    pub(crate) options: GroupOptions,
    pub(crate) record: Record,
    nodes: Mutex<BTreeMap<NodeId, Node>>,
}

struct Node {
    disk: Disk,
    snapshots: MemorySnapshots,
    life: Option<Arc<Life>>,
}

/// One life of a node.
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) host: Arc<Host>,
    log: Arc<DiskLog>,
    snapshots: MemorySnapshots,
    group: Mutex<Option<Group<Chair>>>,
    /// The term in which it claimed an epoch, and the epoch.
    serving: Mutex<Option<(Term, u64)>>,
    over: AtomicBool,
}

pub(crate) fn other(than: NodeId) -> NodeId {
    if than == A { B } else { A }
}

impl Life {
    /// The replica, while there is one.
    pub(crate) fn group(&self) -> Option<Group<Chair>> {
        if self.is_over() { None } else { self.group.lock().unwrap().clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// The epoch in which this node serves, as far as it knows.
    pub(crate) fn epoch(&self) -> Option<u64> {
        let serving = (*self.serving.lock().unwrap())?;
        let leadership = self.group()?.status().leadership;
        (leadership.role == Role::Leader && leadership.term == serving.0).then_some(serving.1)
    }
}

impl Pair {
    /// Both nodes, in one group, one of them serving.
    pub(crate) async fn start(world: &World, options: GroupOptions) -> Arc<Pair> {
        let pair = Pair::new(world, options);
        for node in [A, B] {
            pair.start_node(node).await;
        }
        pair.group(A).initialize([A, B].into()).await.unwrap();
        pair.primary().await;
        pair
    }

    fn new(world: &World, options: GroupOptions) -> Arc<Pair> {
        let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
        let node = || Node { disk: Disk::new(world), snapshots: MemorySnapshots::new(), life: None };
        let nodes = Mutex::new([A, B].map(|id| (id, node())).into());
        Arc::new(Pair { world: world.clone(), network, options, record: Record::default(), nodes })
    }

    pub(crate) fn options() -> GroupOptions {
        GroupOptions { flush_before_send: true, ..World::options() }
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<NodeId, Node>> {
        self.nodes.lock().unwrap()
    }

    pub(crate) fn disk(&self, id: NodeId) -> Disk {
        self.nodes()[&id].disk.clone()
    }

    pub(crate) fn life(&self, id: NodeId) -> Option<Arc<Life>> {
        self.nodes()[&id].life.clone()
    }

    pub(crate) fn group(&self, id: NodeId) -> Group<Chair> {
        self.life(id).and_then(|life| life.group()).expect("the node runs")
    }

    fn spec(&self, life: &Life) -> GroupSpec<Chair> {
        GroupSpec {
            id: GROUP,
            machine: Chair::default(),
            log: Arc::clone(&life.log) as _,
            snapshots: Arc::new(life.snapshots.clone()),
            options: self.options.clone(),
        }
    }

    /// Starts a node on what its disk kept, with its service.
    pub(crate) async fn start_node(self: &Arc<Self>, id: NodeId) -> Arc<Life> {
        let (log, snapshots) = {
            let nodes = self.nodes();
            assert!(nodes[&id].life.is_none(), "{id} runs already");
            (nodes[&id].disk.open(), nodes[&id].snapshots.clone())
        };
        let config = HostConfig { node: id, cluster: ClusterId(1) };
        let host = Host::new(config, Arc::clone(&self.world.env), self.network.transport(id));
        self.network.register(id, &host);
        let (group, serving, over) = Default::default();
        let life = Arc::new(Life { node: id, host, log, snapshots, group, serving, over });
        self.nodes().get_mut(&id).unwrap().life = Some(Arc::clone(&life));
        // It may crash before it runs.
        if let Ok(group) = life.host.create_group(self.spec(&life)).await {
            *life.group.lock().unwrap() = Some(group);
        }
        tokio::spawn(serve(Arc::clone(self), Arc::clone(&life)));
        life
    }

    /// Ends a node's life at once; its disk keeps what was flushed.
    pub(crate) fn crash(&self, id: NodeId) {
        let Some(life) = self.nodes().get_mut(&id).unwrap().life.take() else { return };
        life.over.store(true, Ordering::SeqCst);
        self.disk(id).crash();
        self.network.stop(id);
        // What is left of it has no disk and no network.
        tokio::spawn(async move { life.host.shutdown().await });
    }

    /// Lets `id` try to go on alone.
    pub(crate) async fn take_over(&self, id: NodeId) -> Result<TakeOver<Chair>, Fatal> {
        let life = self.life(id).ok_or_else(|| Fatal("it does not run".into()))?;
        life.group.lock().unwrap().take();
        let outcome = life.host.take_over(self.spec(&life), rule).await;
        if let Ok(outcome) = &outcome {
            *life.group.lock().unwrap() = Some(outcome.group().clone());
        }
        outcome
    }

    /// The node that serves; waits for one.
    pub(crate) async fn primary(&self) -> NodeId {
        let mut primary = None;
        let serves = |id| self.life(id).and_then(|life| life.epoch());
        self.world
            .eventually("a node serves", || {
                primary = [A, B].into_iter().filter(|id| serves(*id).is_some()).max_by_key(|id| serves(*id));
                primary.is_some()
            })
            .await;
        primary.expect("just seen")
    }

    /// Waits until `id` serves.
    pub(crate) async fn serving(&self, id: NodeId) {
        self.world.eventually("it serves", || self.life(id).is_some_and(|life| life.epoch().is_some())).await;
    }

    /// The voters that `id` acts on; waits until it knows them.
    pub(crate) async fn voters(&self, id: NodeId) -> Vec<BTreeSet<NodeId>> {
        let voters = || self.group(id).status().leadership.membership.voters;
        self.world.eventually("it knows its voters", || !voters().is_empty()).await;
        voters()
    }

    /// Puts `value` at `id`; whether it was acknowledged.
    pub(crate) async fn put(&self, id: NodeId, value: u64, timeout: Duration) -> bool {
        let Some(life) = self.life(id) else { return false };
        let (Some(group), Some(epoch)) = (life.group(), life.epoch()) else { return false };
        let began = self.world.now();
        let options = WriteOptions { session: None, timeout };
        let reply = group.write_as_leader(&Command::Put { epoch, value }, options).await;
        // The client of a node that has crashed hears nothing.
        let acknowledged = matches!(reply, Ok(written) if written.reply == Reply::Done) && !life.is_over();
        if acknowledged {
            self.record.acknowledge(began, self.world.now(), epoch, id, value);
        }
        acknowledged
    }

    /// Looks at `id`'s machine and holds what it shows against what was acknowledged.
    pub(crate) async fn look(&self, id: NodeId, consistency: Consistency, timeout: Duration) {
        let Some(life) = self.life(id) else { return };
        let Some(group) = life.group() else { return };
        let began = self.world.now();
        let seen = group.with_state(consistency, timeout, |chair| chair.values.clone()).await;
        if let Ok(seen) = seen
            && !life.is_over()
        {
            self.record.see(began, id, consistency, &seen.answer);
        }
    }

    /// Nothing goes wrong any more; what has stopped starts.
    pub(crate) async fn calm(self: &Arc<Self>) {
        self.network.heal_all();
        self.network.clear_faults();
        for id in [A, B] {
            self.network.resume(id);
            self.disk(id).slow_down(2 * MS);
            let broken = self.life(id).is_some_and(|life| life.group().is_none_or(|group| stopped(&group)));
            if broken {
                self.crash(id);
            }
            if self.life(id).is_none() {
                self.start_node(id).await;
            }
        }
    }

    /// Waits until both are voters again and hold the same, checks that nothing acknowledged is missing.
    pub(crate) async fn converge(self: &Arc<Self>) {
        self.calm().await;
        let whole = |id| {
            let group = self.life(id).and_then(|life| life.group());
            group.is_some_and(|group| group.status().leadership.membership.voters == [[A, B].into()])
        };
        let deadline = self.world.now() + Duration::from_secs(60);
        let mut value = u64::MAX;
        loop {
            if self.world.now() >= deadline {
                let states: Vec<_> =
                    [A, B].map(|id| self.life(id).and_then(|life| life.group()).map(|group| group.status())).into();
                panic!("the pair does not serve again: {states:#?}");
            }
            let primary = self.primary().await;
            if whole(A) && whole(B) && self.put(primary, value, Duration::from_secs(1)).await {
                break;
            }
            value -= 1;
            self.world.sleep(20 * MS).await;
        }
        for id in [A, B] {
            self.look(id, Consistency::LinearizableHere, Duration::from_secs(20)).await;
        }
        self.record.check();
    }
}

pub(crate) fn stopped(group: &Group<Chair>) -> bool {
    group.status().leadership.stopped.is_some()
}

/// The service of one node, for one life.
async fn serve(pair: Arc<Pair>, life: Arc<Life>) {
    while !life.is_over() {
        pair.world.sleep(10 * MS).await;
        let Some(group) = life.group() else { continue };
        let leadership = group.status().leadership;
        if leadership.role != Role::Leader {
            continue;
        }
        if life.epoch().is_none() {
            claim(&pair, &life, &group, leadership.term).await;
        } else if leadership.membership.voters != [[A, B].into()] {
            // Not there, or left half-way when the call's time was up: repeated until both are voters, in one set.
            let _ = group.add_voter(other(life.node), Duration::from_secs(1)).await;
        }
    }
}

async fn claim(pair: &Pair, life: &Life, group: &Group<Chair>, term: Term) {
    let timeout = Duration::from_secs(1);
    let Ok(seen) = group.with_state(Consistency::Linearizable, timeout, |chair| chair.epoch).await else { return };
    let epoch = seen.answer + 1;
    let options = WriteOptions { session: None, timeout };
    let written = group.write_as_leader(&Command::Claim { epoch, by: life.node }, options).await;
    if matches!(written, Ok(written) if written.reply == Reply::Done && written.at.term == term) && !life.is_over() {
        pair.record.claim(epoch, life.node);
        *life.serving.lock().unwrap() = Some((term, epoch));
    }
}
