//! Several groups on a host, and messages that are not for it.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate::log::MemoryLog;
use quorate::snapshot::{MemorySnapshots, Records, SnapshotReader, SnapshotView, read_records};
use quorate::transport::{
    Ballot, Envelope, ForwardedWrite, Inbound, MemoryNetwork, Reply, Request, Transport, TransportError,
};
use quorate::types::{Incarnation, Vote};
use quorate::{
    ClusterId, Consistency, EntryContext, Group, GroupId, GroupSpec, Host, HostConfig, HostLimits, LogTime, NodeId,
    Rejected, StateMachine, Term, WriteOptions,
};

use crate::common::{CALL, Command, GROUP, Register, World, claims};

claims!(
    groups_of_different_machines_share_a_host_and_do_not_mix,
    a_message_of_another_cluster_is_dropped,
    a_message_for_a_group_that_is_not_hosted_is_refused,
    a_group_runs_once_on_a_host_and_can_be_made_again_after_it_was_stopped,
    log_time_never_goes_back_when_a_wall_clock_does,
    what_is_in_flight_on_a_node_is_bounded_over_all_its_groups,
);

/// A machine of another kind: the times that it saw.
#[derive(Clone, Default)]
struct Times(Vec<u64>);

impl StateMachine for Times {
    type Command = ();
    type Reply = LogTime;
    type Query = ();
    type Answer = Vec<u64>;

    fn apply(&mut self, entry: EntryContext, (): ()) -> LogTime {
        self.0.push(entry.time.0);
        entry.time
    }

    fn query(&self, (): ()) -> Vec<u64> {
        self.0.clone()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        let times = self.0.clone();
        Records::view(move || times.clone().into_iter())
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.0 = read_records(reader).collect::<io::Result<_>>()?;
        Ok(())
    }
}

fn host(world: &World, network: &MemoryNetwork, node: u64, cluster: u64) -> Arc<Host> {
    let node = NodeId(node);
    let config = HostConfig { node, cluster: ClusterId(cluster) };
    let host = Host::new(config, Arc::clone(&world.env), network.transport(node));
    network.register(node, &host);
    host
}

fn spec<M: Default>(id: GroupId) -> GroupSpec<M> {
    GroupSpec {
        id,
        machine: M::default(),
        log: Arc::new(MemoryLog::new()),
        snapshots: Arc::new(MemorySnapshots::new()),
        options: World::options(),
    }
}

async fn groups_on<M: StateMachine + Default>(hosts: &[Arc<Host>], id: GroupId) -> Vec<Group<M>> {
    let mut groups = Vec::new();
    for host in hosts {
        groups.push(host.create_group(spec::<M>(id)).await.unwrap());
    }
    let voters: BTreeSet<_> = hosts.iter().map(|host| host.node()).collect();
    groups[0].initialize(voters).await.unwrap();
    groups
}

async fn groups_of_different_machines_share_a_host_and_do_not_mix(world: World) {
    let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
    let hosts: Vec<_> = (1..=3).map(|node| host(&world, &network, node, 1)).collect();
    let registers = groups_on::<Register>(&hosts, GROUP).await;
    let times = groups_on::<Times>(&hosts, GroupId(2)).await;
    let others = groups_on::<Register>(&hosts, GroupId(3)).await;
    let options = || WriteOptions { session: None, timeout: CALL };
    for i in 0..20 {
        registers[i % 3].write(&Command::Push { value: 1 }, options()).await.unwrap();
        times[i % 3].write(&(), options()).await.unwrap();
        others[i % 3].write(&Command::Push { value: 3 }, options()).await.unwrap();
    }
    let linearizable = Consistency::Linearizable;
    let all = &crate::common::Query::Everything;
    for (group, value) in [(&registers[1], 1), (&others[2], 3)] {
        let crate::common::Answer::Everything { list, .. } = group.read(linearizable, all, CALL).await.unwrap().answer
        else {
            panic!("the answer to another query")
        };
        assert_eq!(list, vec![value; 20]);
    }
    assert_eq!(times[0].read(linearizable, &(), CALL).await.unwrap().answer.len(), 20);
    // One group stops on one host; the others do not notice.
    hosts[0].stop_group(GroupId(2)).await;
    assert_eq!(hosts[0].groups(), [GROUP, GroupId(3)]);
    registers[0].write(&Command::Push { value: 1 }, options()).await.unwrap();
    times[1].write(&(), options()).await.unwrap();
}

async fn a_message_of_another_cluster_is_dropped(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    let before = cluster.group(target).status().leadership;
    let stranger = cluster.network.transport(NodeId(9));
    let vote = Vote { term: Term(1000), node: NodeId(9), committed: false };
    let messages = [
        Request::Vote(Ballot { vote, last: None, transfer: true }),
        Request::Write(ForwardedWrite { writes: Vec::new(), hops_left: 1, timeout: CALL }),
        Request::WhoLeads,
    ];
    for (id, request) in (0..).zip(messages) {
        let envelope = |cluster, id| Envelope {
            cluster: ClusterId(cluster),
            from: NodeId(9),
            incarnation: Incarnation(7),
            id,
            group: GROUP,
            request: request.clone(),
        };
        let answer = stranger.call(target, envelope(2, id), Duration::from_millis(100)).await;
        assert!(matches!(answer, Err(TransportError::NoAnswer(_))), "{answer:?}");
    }
    if world.is_virtual {
        assert_eq!(cluster.group(target).status().leadership, before);
    }
    // In its own cluster it is answered.
    let envelope = Envelope {
        cluster: ClusterId(1),
        from: NodeId(9),
        incarnation: Incarnation(7),
        id: 77,
        group: GROUP,
        request: Request::WhoLeads,
    };
    let answer = stranger.call(target, envelope, CALL).await.unwrap();
    assert!(answer.id == 77 && matches!(answer.reply, Reply::Leader { .. }), "{answer:?}");
    cluster.raise(target, 1, 1).await;
}

async fn a_message_for_a_group_that_is_not_hosted_is_refused(world: World) {
    let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
    let host = host(&world, &network, 1, 1);
    let envelope = Envelope {
        cluster: ClusterId(1),
        from: NodeId(2),
        incarnation: Incarnation(7),
        id: 1,
        group: GroupId(5),
        request: Request::ReadIndex,
    };
    let answer = host.deliver(envelope).await.unwrap();
    assert!(matches!(answer.reply, Reply::Refused(Rejected::NoSuchGroup(GroupId(5)))), "{answer:?}");
}

async fn a_group_runs_once_on_a_host_and_can_be_made_again_after_it_was_stopped(world: World) {
    let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
    let host = host(&world, &network, 1, 1);
    let first = spec::<Register>(GROUP);
    let (log, snapshots) = (Arc::clone(&first.log), Arc::clone(&first.snapshots));
    let group = host.create_group(first).await.unwrap();
    group.initialize(BTreeSet::from([NodeId(1)])).await.unwrap();
    let options = WriteOptions { session: None, timeout: CALL };
    group.write(&Command::Push { value: 4 }, options.clone()).await.unwrap();
    assert!(host.create_group(spec::<Register>(GROUP)).await.is_err(), "it runs twice");
    host.stop_group(GROUP).await;
    let again = GroupSpec { log, snapshots, ..spec::<Register>(GROUP) };
    let group = host.create_group(again).await.unwrap();
    let written = group.write(&Command::Push { value: 5 }, options).await.unwrap();
    assert_eq!(written.reply, 2, "what was written before is there");
}

async fn log_time_never_goes_back_when_a_wall_clock_does(world: World) {
    let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
    let hosts: Vec<_> = (1..=3).map(|node| host(&world, &network, node, 1)).collect();
    let groups = groups_on::<Times>(&hosts, GROUP).await;
    let options = || WriteOptions { session: None, timeout: CALL };
    let first = groups[0].write(&(), options()).await.unwrap().reply;
    // A year ahead: one entry moves the time by a minute at most.
    let year_ms = 365 * 24 * 3600 * 1000;
    world.shift_wall(year_ms);
    for _ in 0..3 {
        groups[1].write(&(), options()).await.unwrap();
    }
    world.shift_wall(-2 * year_ms);
    for _ in 0..3 {
        groups[2].write(&(), options()).await.unwrap();
    }
    let times = groups[0].read(Consistency::Linearizable, &(), CALL).await.unwrap().answer;
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[0], first.0);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 60_000), "{times:?}");
}

async fn what_is_in_flight_on_a_node_is_bounded_over_all_its_groups(world: World) {
    let network = MemoryNetwork::new(Arc::clone(&world.env), world.seed);
    let bounded = {
        let config = HostConfig { node: NodeId(1), cluster: ClusterId(1) };
        let limits = HostLimits { inflight_bytes_max: 10_000 };
        let host = Host::with_limits(config, limits, Arc::clone(&world.env), network.transport(NodeId(1)));
        network.register(NodeId(1), &host);
        host
    };
    let hosts = [bounded, host(&world, &network, 2, 1), host(&world, &network, 3, 1)];
    let mut groups = Vec::new();
    for id in 1..=3 {
        groups.push(groups_on::<Register>(&hosts, GroupId(id)).await[0].clone());
    }
    let fill = Command::Fill { key: 1, to: 1, room: vec![0; 4000] };
    let write = |group: usize, timeout| {
        let (group, fill) = (groups[group].clone(), fill.clone());
        async move { group.write(&fill, WriteOptions { session: None, timeout }).await }
    };
    for group in 0..3 {
        write(group, CALL).await.unwrap();
    }
    // The first two wait for a quorum that does not come; the third finds no room, though its own group has it.
    network.isolate(NodeId(1));
    let short = Duration::from_secs(1);
    let (first, second, third) = futures::join!(write(0, short), write(1, short), write(2, short));
    for waited in [first, second] {
        assert!(waited.is_err() && waited != Err(Rejected::Overloaded.into()), "{waited:?}");
    }
    assert_eq!(third, Err(Rejected::Overloaded.into()));
    network.rejoin(NodeId(1));
    for group in 0..3 {
        write(group, CALL).await.unwrap();
    }
}
