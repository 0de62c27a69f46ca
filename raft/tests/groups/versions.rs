//! Programs of different versions run one group: no entry is applied differently, and none by a version that is not known.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use quorate::log::MemoryLog;
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::MemoryNetwork;
use quorate::{
    AdminError, ClusterId, CommandVersion, Consistency, EntryContext, Fatal, Group, GroupOptions, GroupSpec, Host,
    HostConfig, NodeId, Rejected, StateMachine, Versions, WriteError, WriteOptions,
};
use serde::{Deserialize, Serialize};

use crate::common::{CALL, GROUP, World, claims};

claims!(
    a_rolling_upgrade_changes_what_commands_do_at_one_entry,
    a_program_that_cannot_apply_the_version_in_force_stops_and_says_so,
    a_program_that_cannot_apply_the_version_in_force_does_not_join,
);

/// The first program: adds.
#[derive(Default)]
struct Old(u64);

#[derive(Serialize, Deserialize)]
enum OldCommand {
    Add(u64),
}

impl StateMachine for Old {
    type Command = OldCommand;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, _: EntryContext, OldCommand::Add(amount): OldCommand) -> u64 {
        self.0 += amount;
        self.0
    }

    fn query(&self, (): ()) -> u64 {
        self.0
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let sum = self.0;
        Records::view(move || std::iter::once(sum))
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        for sum in read_records(reader) {
            self.0 = sum?;
        }
        Ok(())
    }
}

/// The second program: from version 1 on it adds ten times as much, and can double.
#[derive(Default)]
struct New(Old);

#[derive(Serialize, Deserialize)]
enum NewCommand {
    Add(u64),
    Double,
}

impl StateMachine for New {
    type Command = NewCommand;
    type Reply = u64;
    type Query = ();
    type Answer = u64;

    fn apply(&mut self, entry: EntryContext, command: NewCommand) -> u64 {
        self.apply_as(CommandVersion(1), entry, command)
    }

    fn versions(&self) -> Versions {
        Versions::new(0, 1)
    }

    fn version_of(&self, command: &NewCommand) -> CommandVersion {
        match command {
            NewCommand::Add(_) => CommandVersion(0),
            NewCommand::Double => CommandVersion(1),
        }
    }

    fn apply_as(&mut self, version: CommandVersion, _: EntryContext, command: NewCommand) -> u64 {
        let sum = &mut self.0.0;
        match (command, version) {
            (NewCommand::Add(amount), CommandVersion(0)) => *sum += amount,
            (NewCommand::Add(amount), _) => *sum += 10 * amount,
            (NewCommand::Double, _) => *sum *= 2,
        }
        *sum
    }

    fn query(&self, (): ()) -> u64 {
        self.0.query(())
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        self.0.snapshot()
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.0.restore(reader)
    }
}

/// One replica, by whatever program it is run.
#[derive(Clone)]
enum Replica {
    Old(Group<Old>),
    New(Group<New>),
}

/// A node that is no member yet.
const JOINS: NodeId = NodeId(4);

/// Nodes whose program can be changed.
struct Nodes {
    world: World,
    network: MemoryNetwork,
    options: GroupOptions,
    stores: BTreeMap<NodeId, (MemoryLog, MemorySnapshots)>,
    running: Mutex<BTreeMap<NodeId, (Arc<Host>, Replica)>>,
}

impl Nodes {
    async fn start(world: &World) -> Nodes {
        let ids: Vec<_> = [1, 2, 3].map(NodeId).into();
        let nodes = Nodes {
            world: world.clone(),
            network: MemoryNetwork::new(Arc::clone(&world.env), world.seed),
            options: GroupOptions { snapshot_keep_entries: 0, ..World::options() },
            stores: ids.iter().chain([&JOINS]).map(|id| (*id, Default::default())).collect(),
            running: Mutex::default(),
        };
        for id in &ids {
            nodes.run_old(*id).await.unwrap();
        }
        let Replica::Old(first) = nodes.replica(ids[0]) else { panic!("it was just started") };
        first.initialize(ids.into_iter().collect()).await.unwrap();
        nodes
    }

    fn spec<M>(&self, id: NodeId, machine: M) -> GroupSpec<M> {
        let (log, snapshots) = self.stores[&id].clone();
        let (log, snapshots) = (Arc::new(log), Arc::new(snapshots));
        GroupSpec { id: GROUP, machine, log, snapshots, options: self.options.clone() }
    }

    async fn host(&self, id: NodeId) -> Arc<Host> {
        let earlier = self.running.lock().unwrap().remove(&id);
        if let Some((host, _)) = earlier {
            self.network.stop(id);
            host.shutdown().await;
        }
        let config = HostConfig { node: id, cluster: ClusterId(1) };
        let host = Host::new(config, Arc::clone(&self.world.env), self.network.transport(id));
        self.network.register(id, &host);
        host
    }

    async fn run_old(&self, id: NodeId) -> Result<(), Fatal> {
        let host = self.host(id).await;
        let replica = Replica::Old(host.create_group(self.spec(id, Old::default())).await?);
        self.running.lock().unwrap().insert(id, (host, replica));
        Ok(())
    }

    async fn run_new(&self, id: NodeId) {
        let host = self.host(id).await;
        let replica = Replica::New(host.create_group(self.spec(id, New::default())).await.unwrap());
        self.running.lock().unwrap().insert(id, (host, replica));
    }

    fn replica(&self, id: NodeId) -> Replica {
        self.running.lock().unwrap()[&id].1.clone()
    }

    fn new_program(&self, id: NodeId) -> Group<New> {
        let Replica::New(group) = self.replica(id) else { panic!("{id} runs the old program") };
        group
    }

    /// A command that both programs know.
    async fn add(&self, via: NodeId, amount: u64) -> u64 {
        let options = WriteOptions { session: None, timeout: CALL };
        match self.replica(via) {
            Replica::Old(group) => group.write(&OldCommand::Add(amount), options).await.unwrap().reply,
            Replica::New(group) => group.write(&NewCommand::Add(amount), options).await.unwrap().reply,
        }
    }

    async fn double(&self, via: NodeId) -> Result<u64, WriteError> {
        let options = WriteOptions { session: None, timeout: CALL };
        self.new_program(via).write(&NewCommand::Double, options).await.map(|done| done.reply)
    }

    /// What each replica holds, read by itself.
    async fn sums(&self) -> Vec<u64> {
        let mut sums = Vec::new();
        let members: Vec<_> = self.running.lock().unwrap().keys().copied().collect();
        for id in &members {
            let here = Consistency::LinearizableHere;
            sums.push(match self.replica(*id) {
                Replica::Old(group) => group.read(here, &(), CALL).await.unwrap().answer,
                Replica::New(group) => group.read(here, &(), CALL).await.unwrap().answer,
            });
        }
        sums
    }
}

async fn a_rolling_upgrade_changes_what_commands_do_at_one_entry(world: World) {
    let nodes = Nodes::start(&world).await;
    let [a, b, c] = [1, 2, 3].map(NodeId);
    let mut sum = nodes.add(a, 1).await;
    for (upgraded, via) in [(a, a), (b, c), (c, b)] {
        nodes.run_new(upgraded).await;
        sum += 2;
        assert_eq!(nodes.add(via, 2).await, sum, "the old version is in force");
        // Whoever leads, with whatever program: it is not carried out anywhere.
        let refused = nodes.double(upgraded).await;
        assert!(matches!(refused, Err(WriteError::Rejected(Rejected::Invalid(_)))), "{refused:?}");
        assert_eq!(nodes.sums().await, [sum; 3]);
        let raised = nodes.new_program(upgraded).raise_version(CommandVersion(1), CALL).await;
        match (upgraded == c, &raised) {
            (false, Err(AdminError::Rejected(Rejected::Invalid(text)))) => {
                assert!(text.contains("applies versions 0 to 0, not version 1"), "{text}");
            }
            (last, raised) => assert!(last && raised.is_ok(), "{raised:?}"),
        }
    }
    nodes.new_program(a).raise_version(CommandVersion(1), CALL).await.unwrap();
    sum += 10;
    assert_eq!(nodes.add(a, 1).await, sum);
    sum *= 2;
    assert_eq!(nodes.double(b).await.unwrap(), sum);
    assert_eq!(nodes.sums().await, [sum; 3]);
    // From the log, and from a snapshot behind which nothing is left of it.
    nodes.run_new(b).await;
    assert_eq!(nodes.sums().await, [sum; 3]);
    nodes.new_program(c).snapshot(CALL).await.unwrap();
    nodes.run_new(c).await;
    sum += 10;
    assert_eq!(nodes.add(c, 1).await, sum);
    assert_eq!(nodes.sums().await, [sum; 3]);
    assert_eq!(nodes.new_program(c).version_in_force(), CommandVersion(1));
    let unknown = nodes.new_program(a).raise_version(CommandVersion(2), CALL).await;
    assert!(matches!(unknown, Err(AdminError::Rejected(Rejected::Invalid(_)))), "{unknown:?}");
}

async fn a_program_that_cannot_apply_the_version_in_force_stops_and_says_so(world: World) {
    let nodes = Nodes::start(&world).await;
    let [a, b, c] = [1, 2, 3].map(NodeId);
    nodes.add(a, 1).await;
    for id in [a, b, c] {
        nodes.run_new(id).await;
    }
    nodes.new_program(a).raise_version(CommandVersion(1), CALL).await.unwrap();
    assert_eq!(nodes.add(a, 1).await, 11);
    assert_eq!(nodes.sums().await, [11; 3]);
    // It starts on its log, and comes to the entry.
    let said = match nodes.run_old(b).await {
        Err(fatal) => fatal.0,
        Ok(()) => {
            let Replica::Old(group) = nodes.replica(b) else { panic!("it was just started") };
            let stopped = group.watch().wait_for(|now| now.stopped.is_some()).await.unwrap();
            stopped.stopped.unwrap().0
        }
    };
    assert!(said.contains("version 1 of the commands is in force, and this program applies versions 0 to 0"), "{said}");
    // The others go on; one of them cannot go back on its snapshot either.
    assert_eq!(nodes.add(c, 1).await, 21);
    nodes.run_new(b).await;
    nodes.new_program(c).snapshot(CALL).await.unwrap();
    let fatal = nodes.run_old(c).await.unwrap_err();
    assert!(fatal.0.contains("version 1 of the commands is in force"), "{fatal}");
    nodes.run_new(c).await;
    assert_eq!(nodes.add(c, 1).await, 31);
    assert_eq!(nodes.sums().await, [31; 3]);
}

async fn a_program_that_cannot_apply_the_version_in_force_does_not_join(world: World) {
    let nodes = Nodes::start(&world).await;
    let [a, b, c] = [1, 2, 3].map(NodeId);
    for id in [a, b, c] {
        nodes.run_new(id).await;
    }
    nodes.new_program(a).raise_version(CommandVersion(1), CALL).await.unwrap();
    nodes.run_old(JOINS).await.unwrap();
    let refused = nodes.new_program(b).add_voter(JOINS, CALL).await;
    let Err(AdminError::Rejected(Rejected::Invalid(text))) = &refused else { panic!("{refused:?}") };
    assert!(text.contains("applies versions 0 to 0, and version 1 is in force"), "{text}");
    assert!(!nodes.new_program(a).status().leadership.membership.contains(JOINS), "it was added all the same");
    nodes.run_new(JOINS).await;
    nodes.new_program(b).add_voter(JOINS, CALL).await.unwrap();
    assert_eq!(nodes.add(a, 1).await, 10);
    assert_eq!(nodes.sums().await, [10; 4]);
}
