//! Reads from followers, while shards move and nodes fail: whoever answers says how old the answer can be.
//!
//! Shows: an answer is never older than it claims, by an oracle of what was acknowledged when; it claims no more than was asked
//! for, or comes from the leader.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use quorate::{Consistency, Proof};
use quorate_harness::checker::staleness::Oracle;
use quorate_harness::sim::{Scenario, Shape, Sim};
use quorate_statemachines::kv::{Json, KvOp, Outcome};
use rand::RngExt;
use serde_json::json;

use super::layout::NODES;
use super::operator;
use super::outside::{Client, Ended, Outside};
use super::{World, suffers};

const LENGTH: Duration = Duration::from_secs(4);
const WRITERS: u64 = 3;
const WRITES: u64 = 40;
const READERS: u64 = 3;
const READS: u64 = 40;
const CHANGES: u64 = 5;

/// How long a read may take.
const READ: Duration = Duration::from_secs(1);

/// How long the store may take to serve when all is well.
const HEAL: Duration = Duration::from_secs(30);

/// The scenario.
pub(crate) struct FollowerReads;

#[async_trait(?Send)]
impl Scenario for FollowerReads {
    fn name(&self) -> &str {
        "follower-reads"
    }

    fn about(&self) -> &str {
        "a sharded store whose followers answer: never older than they say, through moves too"
    }

    fn shape(&self) -> Shape {
        let (clients, operations) = (WRITERS + READERS, WRITES);
        Shape { nodes: NODES, length: LENGTH, clients, operations, faults: 5, suffers: suffers() }
    }

    async fn run(&self, sim: &Sim) {
        let world = World::start(sim, 2).await;
        let outside: Vec<Outside> = (1..=2).map(|nth| Outside::new(sim, &world.layout, nth)).collect();
        if !operator::join(sim, &outside[0], world.layout.gids()).await {
            return sim.violate("a store starts", "no group could join".into());
        }
        let oracle = RefCell::new(Oracle::default());
        let writers = (1..=WRITERS).map(|process| write(sim, &outside[(process % 2) as usize], process, &oracle));
        let readers = (1..=READERS).map(|nth| read(sim, &outside[(nth % 2) as usize], WRITERS + nth, &oracle));
        let operator = operator::operate(sim, &outside[0], world.layout.gids(), CHANGES, LENGTH);
        futures::join!(sim.disturb(), join_all(writers), join_all(readers), operator);

        world.traps.clear();
        sim.calm().await;
        if !operator::join(sim, &outside[1], &world.layout.gids()[..1]).await {
            return sim.violate("service resumes when all is well", "no configuration can be made".into());
        }
        for process in 1..=WRITERS {
            let (key, called) = (key(process), sim.now());
            match outside[1].kv.get(&key, Consistency::LinearizableHere, HEAL).await {
                Ok(reply) => judge(sim, &oracle, &key, reply.answer.as_ref(), called, Duration::ZERO),
                Err(error) => sim.violate("service resumes when all is well", format!("{key}: {error}")),
            }
        }
    }
}

/// The key that one writer has to itself.
fn key(process: u64) -> Arc<str> {
    format!("counter-{process}").into()
}

/// Puts one number after the other.
async fn write(sim: &Sim, outside: &Outside, process: u64, oracle: &RefCell<Oracle>) {
    let client = Client::new(outside, &format!("writer-{process}"));
    let key = key(process);
    for number in 1..=WRITES {
        let mut random = sim.random("operation", process << 32 | number);
        sim.sleep(Duration::from_millis(random.random_range(0..2 * LENGTH.as_millis() as u64 / WRITES))).await;
        if sim.now() >= LENGTH {
            return;
        }
        if !sim.plan().keeps(process, number) {
            continue;
        }
        let ticket = sim.invoke(process, "put", json!(*key), json!(number), None);
        match client.run(KvOp::Put { key: Arc::clone(&key), value: Json::from(&json!(number)) }).await {
            Ended::Done(Outcome::Put) => {
                oracle.borrow_mut().acknowledged(&key, number, sim.now());
                ticket.ok(json!(number));
            }
            Ended::Done(other) => sim.violate("a put puts", format!("{key}: {other:?}")),
            Ended::Refused(error) => ticket.fail(error),
            Ended::Unknown(error) => ticket.info(error),
        }
    }
}

/// Reads numbers that may be old.
async fn read(sim: &Sim, outside: &Outside, process: u64, oracle: &RefCell<Oracle>) {
    for number in 1..=READS {
        let mut random = sim.random("operation", process << 32 | number);
        sim.sleep(Duration::from_millis(random.random_range(0..2 * LENGTH.as_millis() as u64 / READS))).await;
        if sim.now() >= LENGTH {
            return;
        }
        if !sim.plan().keeps(process, number) {
            continue;
        }
        let key = key(random.random_range(1..=WRITERS));
        let bound = Duration::from_millis([2, 20, 100, 400, 2_000][random.random_range(0..5)]);
        let called = sim.now();
        let ticket = sim.invoke(process, "read", json!(*key), json!(bound.as_millis() as u64), None);
        let result = match random.random_range(0..5) {
            0 => {
                let reply = outside.kv.get(&key, Consistency::LinearizableHere, READ).await;
                reply.map(|reply| (reply.answer, reply.proof))
            }
            _ => outside.kv.get_bounded(&key, bound, READ).await,
        };
        match result {
            Ok((value, proof)) => {
                ticket.ok(json!({ "value": value.as_ref().map(|value| value.text().to_owned()), "age": proof.staleness.map(|age| age.as_micros() as u64) }));
                let Some(age) = claimed(&proof, bound) else {
                    sim.violate("a bound is respected", format!("{key} within {bound:?}: {proof:?}"));
                    return;
                };
                judge(sim, oracle, &key, value.as_ref(), called, age);
            }
            Err(error) => ticket.fail(error),
        }
    }
}

/// How old an answer says that it is; `None` when that is more than was asked for.
fn claimed(proof: &Proof, bound: Duration) -> Option<Duration> {
    if proof.linearizable {
        return Some(Duration::ZERO);
    }
    proof.staleness.filter(|age| *age <= bound)
}

fn judge(sim: &Sim, oracle: &RefCell<Oracle>, key: &str, value: Option<&Json>, called: Duration, age: Duration) {
    let read = value.and_then(|value| value.text().parse().ok()).unwrap_or(0);
    if let Err(too_old) = oracle.borrow().judge(key, read, called, age) {
        sim.violate("no answer is older than it says", too_old.to_string());
    }
}
