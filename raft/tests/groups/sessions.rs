//! A session's command takes effect once.

use std::sync::Arc;
use std::time::Duration;

use quorate::sessions::{ClientSession, Refusal, Stamp};
use quorate::transport::{Link, LinkFaults};
use quorate::{ClientId, GroupOptions, NodeId, Rejected, Unknown, WriteError, WriteOptions};

use crate::common::{CALL, Cluster, Command, World, claims};
use crate::faults::{Nemesis, bad_network};

claims!(
    a_sessions_commands_take_effect_once_through_every_fault,
    a_lost_answer_is_asked_for_again_within_one_call,
    a_repeated_command_gets_its_first_reply_also_from_a_later_leader_and_after_a_restart,
    a_command_of_an_expired_or_unknown_session_is_not_carried_out,
    a_number_used_for_another_command_is_rejected,
    a_session_in_use_does_not_expire,
    one_wrong_clock_expires_no_session,
);

async fn write_stamped(
    cluster: &Cluster,
    via: NodeId,
    stamp: Stamp,
    command: Command,
) -> Result<(u64, bool), WriteError> {
    let options = WriteOptions { session: Some(stamp), timeout: CALL };
    cluster.group(via).write(&command, options).await.map(|written| (written.reply, written.replayed))
}

async fn a_sessions_commands_take_effect_once_through_every_fault(world: World) {
    let cluster = Arc::new(world.cluster(3).await);
    let sessions: Vec<_> = (0..4).map(|client| ClientSession::new(ClientId::new(format!("c{client}")))).collect();
    for session in &sessions {
        cluster.group(NodeId(1)).open_session(session.client().clone(), CALL).await.unwrap();
    }
    cluster.network.set_faults(Link::ALL, bad_network());
    let nemesis = Nemesis::start(&cluster);
    let clients: Vec<_> =
        (0..).zip(sessions).map(|(key, session)| tokio::spawn(count_up(Arc::clone(&cluster), key, session))).collect();
    let mut totals = Vec::new();
    for client in clients {
        totals.push(client.await.unwrap());
    }
    nemesis.end(&cluster).await;
    let (values, _) = cluster.converge().await;
    for (key, total) in (0..).zip(totals) {
        assert_eq!(values.get(&key), Some(&total), "the counter of client {key}");
    }
}

/// Adds one, many times over, each until it is acknowledged, through whatever node answers.
async fn count_up(cluster: Arc<Cluster>, key: u64, session: ClientSession) -> u64 {
    let world = cluster.world.fork();
    let mut total = 0;
    for _ in 0..60 {
        let call = session.call().expect("few are open");
        let reply = loop {
            world.sleep(Duration::from_millis(world.below(30))).await;
            let Some(group) = cluster.group_if_running(NodeId(1 + world.below(3))) else { continue };
            let options = WriteOptions { session: Some(call.stamp().clone()), timeout: Duration::from_millis(500) };
            match group.write(&Command::Add { key, amount: 1 }, options).await {
                Ok(written) => break written.reply,
                Err(WriteError::Unknown(Unknown::Session(refusal))) => panic!("{refusal}"),
                Err(_) => {}
            }
        };
        total += 1;
        assert_eq!(reply, total, "the reply of the one time that it was carried out");
    }
    total
}

async fn a_lost_answer_is_asked_for_again_within_one_call(world: World) {
    let cluster = world.cluster(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let client = ClientId::new("c");
    cluster.group(follower).open_session(client.clone(), CALL).await.unwrap();
    let lost = LinkFaults { drop_replies: 1.0, ..LinkFaults::none() };
    cluster.network.set_faults(Link::one(leader, follower), lost);
    let group = cluster.group(follower);
    let call = tokio::spawn(async move {
        let stamp = Stamp { client, seq: 1, acked: None };
        group.write(&Command::Add { key: 1, amount: 1 }, WriteOptions { session: Some(stamp), timeout: CALL }).await
    });
    world
        .eventually("it is carried out", || cluster.group(leader).status().applied.is_some_and(|id| id.index.0 >= 3))
        .await;
    world.sleep(Duration::from_millis(100)).await;
    cluster.network.clear_faults();
    let began = world.now();
    let written = call.await.unwrap().unwrap();
    assert_eq!(written.reply, 1);
    assert!(world.now().since(began) < CALL / 2, "it waited for the lost answer");
    let (values, _) = cluster.converge().await;
    assert_eq!(values[&1], 1);
}

async fn a_repeated_command_gets_its_first_reply_also_from_a_later_leader_and_after_a_restart(world: World) {
    let cluster = world.cluster(3).await;
    let client = ClientId::new("c");
    let stamp = |seq| Stamp { client: client.clone(), seq, acked: None };
    cluster.group(NodeId(1)).open_session(client.clone(), CALL).await.unwrap();
    let add = |amount| Command::Add { key: 1, amount };
    for seq in 1..=5 {
        let first = write_stamped(&cluster, NodeId(2), stamp(seq), add(seq)).await.unwrap();
        assert!(!first.1);
        assert_eq!(write_stamped(&cluster, NodeId(3), stamp(seq), add(seq)).await, Ok((first.0, true)));
    }
    let old = cluster.leader().await;
    cluster.depose(old).await;
    let via = cluster.others(old)[0];
    assert_eq!(write_stamped(&cluster, via, stamp(2), add(2)).await, Ok((3, true)));
    cluster.network.heal_all();
    cluster.group(via).snapshot(CALL).await.unwrap();
    for node in cluster.running() {
        cluster.stop(node).await;
    }
    cluster.calm().await;
    assert_eq!(write_stamped(&cluster, old, stamp(4), add(4)).await, Ok((10, true)));
    let (values, _) = cluster.converge().await;
    assert_eq!(values[&1], 15);
}

async fn a_command_of_an_expired_or_unknown_session_is_not_carried_out(world: World) {
    let ttl = Duration::from_secs(20);
    let cluster = world.cluster_with(3, GroupOptions { session_ttl: ttl, ..World::options() }).await;
    let client = ClientId::new("c");
    let stamp = |seq| Stamp { client: client.clone(), seq, acked: None };
    let add = Command::Add { key: 1, amount: 1 };
    let unknown = write_stamped(&cluster, NodeId(1), stamp(1), add.clone()).await;
    assert_eq!(unknown, Err(Unknown::Session(Refusal::Expired).into()));
    cluster.group(NodeId(1)).open_session(client.clone(), CALL).await.unwrap();
    assert_eq!(write_stamped(&cluster, NodeId(1), stamp(1), add.clone()).await, Ok((1, false)));
    world.shift_wall(ttl.as_millis() as i64 + 1000);
    let asked = world.now();
    for (node, seq) in [(1, 1), (2, 1), (3, 2)] {
        let expired = write_stamped(&cluster, NodeId(node), stamp(seq), add.clone()).await;
        assert_eq!(expired, Err(Unknown::Session(Refusal::Expired).into()), "number {seq} at node {node}");
    }
    assert!(world.now().since(asked) < CALL / 2, "a refusal that another node handed on is final, too");
    let (values, _) = cluster.converge().await;
    assert_eq!(values[&1], 1);
}

async fn a_number_used_for_another_command_is_rejected(world: World) {
    let cluster = world.cluster(3).await;
    let client = ClientId::new("c");
    let stamp = Stamp { client: client.clone(), seq: 1, acked: None };
    cluster.group(NodeId(1)).open_session(client, CALL).await.unwrap();
    write_stamped(&cluster, NodeId(1), stamp.clone(), Command::Add { key: 1, amount: 1 }).await.unwrap();
    let other = write_stamped(&cluster, NodeId(2), stamp, Command::Add { key: 1, amount: 2 }).await;
    assert_eq!(other, Err(Rejected::Session(Refusal::Reused).into()));
}

async fn a_session_in_use_does_not_expire(world: World) {
    let ttl = Duration::from_secs(20);
    let cluster = world.cluster_with(3, GroupOptions { session_ttl: ttl, ..World::options() }).await;
    let client = ClientId::new("c");
    cluster.group(NodeId(1)).open_session(client.clone(), CALL).await.unwrap();
    for seq in 1..=6 {
        world.shift_wall(ttl.as_millis() as i64 / 2);
        let stamp = Stamp { client: client.clone(), seq, acked: Some(seq - 1) };
        let added = write_stamped(&cluster, NodeId(1 + seq % 3), stamp, Command::Add { key: 1, amount: 1 }).await;
        assert_eq!(added, Ok((seq, false)));
    }
}

async fn one_wrong_clock_expires_no_session(world: World) {
    let ttl = Duration::from_secs(200);
    let cluster = world.cluster_with(3, GroupOptions { session_ttl: ttl, ..World::options() }).await;
    let client = ClientId::new("c");
    cluster.group(NodeId(1)).open_session(client.clone(), CALL).await.unwrap();
    // The log's time follows a clock by so much an entry at most.
    world.shift_wall(10 * ttl.as_millis() as i64);
    let stamp = Stamp { client, seq: 1, acked: None };
    let added = write_stamped(&cluster, NodeId(2), stamp.clone(), Command::Add { key: 1, amount: 1 }).await;
    assert_eq!(added, Ok((1, false)));
    let again = write_stamped(&cluster, NodeId(3), stamp, Command::Add { key: 1, amount: 1 }).await;
    assert_eq!(again, Ok((1, true)));
}
