//! Registers that many clients read, write, and compare-and-set while nodes stop, pause and are cut off, and while
//! shards move: linearizable.

use std::time::Duration;

use quorate_harness::checker::register::{Register, RegisterAnswer, RegisterOp};
use quorate_harness::checker::{Keyed, Limits, Outcome, Verdict, check};
use quorate_harness::history::{Call, History};
use quorate_nodes::services::{Replica, ServiceOptions, ShardKv};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use crate::cluster::{Cluster, code};

pub(crate) type Recorded = History<Keyed<RegisterOp<u64>>, RegisterAnswer<u64>>;

const CLIENTS: u64 = 8;
/// Of each client.
pub(crate) const OPERATIONS: usize = 80;
const KEYS: u64 = 4;
const TIMEOUT: Duration = Duration::from_millis(600);

/// One client: a mix of operations on few keys with few values, so that they meet often.
async fn client(cluster: Cluster, history: Recorded, nodes: Vec<&'static str>, nth: u64, operations: usize) {
    let mut random = SmallRng::seed_from_u64(nth);
    let mut process = nth;
    for _ in 0..operations {
        let key = random.random_range(0..KEYS);
        let (from, to) = (random.random_range(0..5), random.random_range(0..5));
        let (op, kind, fields) = match random.random_range(0..4) {
            0 | 1 => (RegisterOp::Read, "read", json!({ "key": key })),
            2 => (RegisterOp::Write(to), "write", json!({ "key": key, "value": to })),
            _ => (RegisterOp::Cas { from, to, create: false }, "cas", json!({ "key": key, "from": from, "to": to })),
        };
        let node = nodes[random.random_range(0..nodes.len())];
        let call = history.invoke(process, Keyed::new(key.to_string(), op));
        let answer = cluster.ask(&format!("c{nth}"), node, kind, fields).await;
        if code(&answer) == Some(11) {
            // Who is refused at once does not use up its operations while nobody serves.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if !judge(call, kind, &answer) {
            // A process whose operation may still be carried out does nothing more.
            process += CLIENTS;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..15))).await;
    }
}

/// Reads every key through `node` until each read is answered, as one more client.
pub(crate) async fn read_all(cluster: &Cluster, node: &'static str, history: &Recorded) {
    for key in 0..KEYS {
        loop {
            let call = history.invoke(u64::MAX, Keyed::new(key.to_string(), RegisterOp::Read));
            let answer = cluster.ask("last", node, "read", json!({ "key": key })).await;
            let answered = matches!(code(&answer), None | Some(20));
            judge(call, "read", &answer);
            if answered {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What an answer says about its operation; false if that is nothing.
fn judge(call: Call<Keyed<RegisterOp<u64>>, RegisterAnswer<u64>>, kind: &str, answer: &Map<String, Value>) -> bool {
    match (kind, code(answer)) {
        ("read", None) => call.ok(RegisterAnswer::Value(answer["value"].as_u64())),
        ("read", Some(20)) => call.ok(RegisterAnswer::Value(None)),
        ("read", Some(_)) => call.fail(),
        (_, None) => call.ok(RegisterAnswer::Done),
        ("cas", Some(20 | 22)) => call.ok(RegisterAnswer::Refused),
        (_, Some(11)) => call.fail(),
        (_, Some(0 | 13)) => {
            call.info();
            return false;
        }
        (_, Some(code)) => panic!("{kind} was answered with code {code}: {answer:?}"),
    }
    true
}

/// Runs all clients until each has made so many `operations`, and `disturb` beside them over and over.
pub(crate) async fn run(
    cluster: &Cluster,
    nodes: &[&'static str],
    operations: usize,
    mut disturb: impl AsyncFnMut(&Cluster, &mut SmallRng),
) -> Recorded {
    let history = Recorded::new();
    let start = |nth| client(cluster.clone(), history.clone(), nodes.to_vec(), nth, operations);
    let clients = (0..CLIENTS).map(|nth| tokio::spawn(start(nth)));
    let mut clients = futures::future::join_all(clients);
    let mut random = SmallRng::seed_from_u64(99);
    loop {
        // A disturbance is never left half done.
        if futures::poll!(&mut clients).is_ready() {
            return history;
        }
        disturb(cluster, &mut random).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(20..200))).await;
    }
}

pub(crate) fn assert_linearizable(history: &Recorded) {
    let operations = history.operations();
    let returned = operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Returned { .. })).count();
    let open = operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Open)).count();
    println!("{} operations: {returned} returned, {open} open, the rest refused", operations.len());
    assert!(returned > operations.len() / 4, "only {returned} of {} came to something", operations.len());
    match check(&Register::empty(), &operations, Limits::default()) {
        Verdict::Linearizable => {}
        Verdict::NotLinearizable(example) => panic!("{}", example.describe(&operations)),
        Verdict::Unknown(limit) => panic!("the checker gave up: {limit:?}"),
    }
}

/// Breaks one target in some way for a while, and mends it.
async fn break_and_mend(cluster: &Cluster, random: &mut SmallRng, target: &str) {
    let (broken, mended) = [("stop", "start"), ("pause", "resume"), ("isolate", "heal")][random.random_range(0..3)];
    cluster.fault(broken, target).await;
    tokio::time::sleep(Duration::from_millis(random.random_range(50..500))).await;
    cluster.fault(mended, target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_are_linearizable_at_every_node_while_nodes_fail() {
    let nodes = ["n1", "n2", "n3"];
    let cluster = Cluster::serve(Replica::new(ServiceOptions { seed: Some(1), ..Default::default() }), TIMEOUT);
    cluster.insist("c", "n1", "init", json!({ "node_id": "n1", "node_ids": nodes })).await;
    let history = run(&cluster, &nodes, OPERATIONS, async |cluster, random| {
        let target = nodes[random.random_range(0..nodes.len())];
        break_and_mend(cluster, random, target).await;
    })
    .await;
    cluster.end().await;
    assert_linearizable(&history);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sharded_store_is_linearizable_while_shards_move_and_leaders_fail() {
    let nodes = ["n1", "n2"];
    let options = ServiceOptions { shards: 4, seed: Some(2), ..Default::default() };
    let cluster = Cluster::serve(ShardKv::new(options), TIMEOUT);
    cluster.insist("c", "n1", "init", json!({ "node_id": "n1", "node_ids": nodes })).await;
    cluster.ask("ctl", "n1", "join", json!({ "groups": { "g1": [], "g2": [] } })).await;
    let history = run(&cluster, &nodes, OPERATIONS, async |cluster, random| {
        let gid = ["g1", "g2", "g3"][random.random_range(0..3)];
        let change = match random.random_range(0..4) {
            0 => ("join", json!({ "groups": { "g3": [] } })),
            1 => ("leave", json!({ "gids": ["g3"] })),
            _ => ("move", json!({ "shard": random.random_range(0..4), "gid": gid })),
        };
        // Whatever comes of it: it may be refused, or lost.
        cluster.ask("ctl", "n2", change.0, change.1).await;
        let targets = ["g1/leader", "g2/leader", "controller/leader", "g1/0", "g2/2", "n2"];
        let target = targets[random.random_range(0..targets.len())];
        break_and_mend(cluster, random, target).await;
    })
    .await;
    cluster.end().await;
    assert_linearizable(&history);
}
