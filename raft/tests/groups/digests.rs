//! Replicas compare their states, and one that parted from the others stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate::log::MemoryLog;
use quorate::machine::{StateDigest, snapshot_digest};
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::MemoryNetwork;
use quorate::{
    AdminError, ClusterId, Consistency, EntryContext, Fatal, Group, GroupOptions, GroupSpec, Host, HostConfig, NodeId,
    Rejected, Role, StateMachine, WriteOptions,
};

use crate::common::{CALL, Command, GROUP, Register, World, claims};

claims!(
    replicas_that_hold_the_same_agree_whatever_way_they_came_by_it,
    the_odd_one_of_three_stops_leader_or_not_and_the_others_go_on,
    of_two_that_differ_nobody_is_trusted,
    one_that_was_away_judges_itself_when_it_is_back,
    a_machine_without_a_digest_is_not_compared,
);

/// Adds; one that is wrong adds a little more now and then.
#[derive(Default)]
struct Sum {
    sum: u64,
    wrong: bool,
}

impl StateMachine for Sum {
    type Command = u64;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: EntryContext, amount: u64) -> u64 {
        // On purpose: two machines of one type that do not do the same.
        self.sum += amount + u64::from(self.wrong && amount == 13);
        self.sum
    }

    fn query(&self, (): ()) -> u64 {
        self.sum
    }

    fn digest(&self) -> Option<StateDigest> {
        Some(snapshot_digest(self.snapshot()))
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let sum = self.sum;
        Records::view(move || std::iter::once(sum))
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        for sum in read_records(reader) {
            self.sum = sum?;
        }
        Ok(())
    }
}

/// Nodes, and what one of them keeps when it is started again.
struct Nodes {
    world: World,
    network: MemoryNetwork,
    stores: Vec<(MemoryLog, MemorySnapshots)>,
    hosts: Vec<Arc<Host>>,
    groups: Vec<Group<Sum>>,
}

impl Nodes {
    /// So many nodes, of which the one at `wrong` does not do as it should.
    async fn start(world: &World, count: usize, wrong: Option<usize>) -> Nodes {
        let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
        let stores = (0..count).map(|_| Default::default()).collect();
        let mut nodes = Nodes { world: world.clone(), network, stores, hosts: Vec::new(), groups: Vec::new() };
        for place in 0..count {
            let (host, group) = nodes.run(place, wrong == Some(place)).await;
            nodes.hosts.push(host);
            nodes.groups.push(group);
        }
        let voters = nodes.groups.iter().map(Group::node).collect();
        nodes.groups[0].initialize(voters).await.unwrap();
        nodes
    }

    async fn run(&self, place: usize, wrong: bool) -> (Arc<Host>, Group<Sum>) {
        let node = NodeId(place as u64 + 1);
        let config = HostConfig { node, cluster: ClusterId(1) };
        let host = Host::new(config, Arc::clone(&self.world.env), self.network.transport(node));
        self.network.register(node, &host);
        let (log, snapshots) = self.stores[place].clone();
        let options = GroupOptions { snapshot_keep_entries: 0, ..World::options() };
        let machine = Sum { sum: 0, wrong };
        let spec = GroupSpec { id: GROUP, machine, log: Arc::new(log), snapshots: Arc::new(snapshots), options };
        let group = host.create_group(spec).await.unwrap();
        (host, group)
    }

    async fn add(&self, place: usize, amount: u64) {
        let options = WriteOptions { session: None, timeout: CALL };
        self.groups[place].write(&amount, options).await.unwrap();
    }

    async fn stopped(&self, place: usize) -> Fatal {
        let stopped = self.groups[place].watch().wait_for(|now| now.stopped.is_some()).await.unwrap();
        stopped.stopped.unwrap()
    }

    fn runs(&self, place: usize) -> bool {
        self.groups[place].watch().borrow().stopped.is_none()
    }
}

fn is_named(result: &Result<(), AdminError>, node: u64) -> bool {
    matches!(result, Err(AdminError::Fatal(Fatal(text))) if text.contains(&format!("[NodeId({node})]")))
}

async fn replicas_that_hold_the_same_agree_whatever_way_they_came_by_it(world: World) {
    let mut nodes = Nodes::start(&world, 3, None).await;
    for round in 0..4 {
        for place in 0..3 {
            nodes.add(place, 13).await;
            let client = quorate::ClientId::new(format!("client {round} {place}"));
            nodes.groups[place].open_session(client, CALL).await.unwrap();
        }
        nodes.groups[round % 3].compare_states(CALL).await.unwrap();
        // One starts again, from its snapshot or from its log.
        let place = round % 3;
        if round % 2 == 0 {
            nodes.groups[place].snapshot(CALL).await.unwrap();
        }
        nodes.network.stop(NodeId(place as u64 + 1));
        nodes.hosts[place].shutdown().await;
        (nodes.hosts[place], nodes.groups[place]) = nodes.run(place, false).await;
        nodes.groups[(round + 1) % 3].compare_states(CALL).await.unwrap();
    }
    assert!((0..3).all(|place| nodes.runs(place)));
}

async fn the_odd_one_of_three_stops_leader_or_not_and_the_others_go_on(world: World) {
    for leads in [false, true] {
        let nodes = Nodes::start(&world, 3, Some(1)).await;
        nodes.add(0, 1).await;
        nodes.groups[0].compare_states(CALL).await.unwrap();
        nodes.groups[0].transfer_leadership(NodeId(if leads { 2 } else { 3 }), CALL).await.unwrap();
        nodes.add(0, 13).await;
        let compared = nodes.groups[0].compare_states(CALL).await;
        // Where the odd one led it may have stopped before it could say so.
        assert!(is_named(&compared, 2) || leads && compared.is_err(), "{compared:?}");
        let fatal = nodes.stopped(1).await;
        assert!(fatal.0.contains("parted from the others"), "{fatal}");
        assert!(nodes.groups[1].read(Consistency::Local, &(), CALL).await.is_err(), "it answers nothing");
        nodes.add(0, 1).await;
        let linearizable = Consistency::Linearizable;
        assert_eq!(nodes.groups[2].read(linearizable, &(), CALL).await.unwrap().answer, 15);
        nodes.groups[2].compare_states(CALL).await.unwrap();
        assert!(nodes.runs(0) && nodes.runs(2));
    }
}

async fn of_two_that_differ_nobody_is_trusted(world: World) {
    let nodes = Nodes::start(&world, 2, Some(1)).await;
    nodes.add(0, 13).await;
    let compared = nodes.groups[0].compare_states(CALL).await;
    assert!(compared.is_err(), "{compared:?}");
    for place in 0..2 {
        let fatal = nodes.stopped(place).await;
        assert!(fatal.0.contains("no majority agrees"), "{fatal}");
    }
}

async fn one_that_was_away_judges_itself_when_it_is_back(world: World) {
    let nodes = Nodes::start(&world, 3, Some(2)).await;
    nodes.add(0, 1).await;
    nodes.network.isolate(NodeId(3));
    let leads = |group: &Group<Sum>| group.status().leadership.role == Role::Leader;
    world.eventually("the others have a leader", || nodes.groups[..2].iter().any(leads)).await;
    nodes.add(0, 13).await;
    nodes.groups[0].compare_states(Duration::from_secs(4)).await.unwrap();
    assert!(nodes.runs(2));
    nodes.network.rejoin(NodeId(3));
    let fatal = nodes.stopped(2).await;
    assert!(fatal.0.contains("parted from the others"), "{fatal}");
    nodes.add(1, 1).await;
}

async fn a_machine_without_a_digest_is_not_compared(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let compared = cluster.group(leader).compare_states(CALL).await;
    assert!(matches!(compared, Err(AdminError::Rejected(Rejected::Invalid(_)))), "{compared:?}");
    let group: Group<Register> = cluster.group(leader);
    group.write(&Command::Push { value: 1 }, WriteOptions::default()).await.unwrap();
}
