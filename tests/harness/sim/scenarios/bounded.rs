//! Reads of bounded staleness at any node: an answer is never older than it says, whatever clocks say (`docs/guarantees.md`).
//!
//! The oracle is the acknowledged times of writes to registers that only rise.

use std::time::Duration;

use futures::future::{join, join_all};
use quorate::{Consistency, GroupId, NodeId, WriteOptions};
use rand::RngExt;
use serde_json::json;

use super::machine::{Answer, Command, Query, Registers};
use crate::sim::cluster::{Replicas, Settings, actions, replica};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

const GROUP: GroupId = GroupId(1);
const PATIENCE: Duration = Duration::from_millis(500);

/// The scenario `bounded`.
#[derive(Debug)]
pub struct BoundedScenario;

/// What is known of one client's own register, by the world's clock.
#[derive(Default)]
struct Written {
    invoked: Vec<(Duration, u64)>,
    acknowledged: Vec<(Duration, u64)>,
}

/// A read and what it claims.
struct Seen {
    key: u64,
    began: Duration,
    ended: Duration,
    value: u64,
    staleness: Option<Duration>,
    claims: String,
}

#[async_trait::async_trait(?Send)]
impl Scenario for BoundedScenario {
    fn name(&self) -> &str {
        "bounded"
    }

    fn about(&self) -> &str {
        "an answer is never older than it says, nor from the future"
    }

    fn shape(&self) -> Shape {
        let suffers = [Kind::all(), Kind::process(), vec![Kind::act(actions::TRANSFER)]].concat();
        Shape { nodes: 3, length: Duration::from_secs(4), clients: 4, operations: 60, faults: 6, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        Replicas::new(Settings::small(), |_, _| Registers::default()).start(sim, shape.nodes).await;
        let writers = join_all((0..2).map(|key| write(sim, &shape, key)));
        let readers = join_all((2..shape.clients).map(|client| read(sim, &shape, client)));
        let ((written, seen), ()) = join(join(writers, readers), sim.disturb()).await;
        if !heal::<Registers>(sim, 1, true).await {
            return;
        }
        seen.iter().flatten().for_each(|seen| judge(sim, seen, &written[seen.key as usize]));
    }
}

/// Raises a register of its own.
async fn write(sim: &Sim, shape: &Shape, key: u64) -> Written {
    let mut written = Written::default();
    for number in 0..shape.operations {
        let mut random = sim.random("bounded writer", key << 32 | number);
        let pause = random.random_range(0..2 * shape.length.as_millis() as u64 / shape.operations);
        sim.sleep(Duration::from_millis(pause)).await;
        if !sim.plan().keeps(key, number) {
            continue;
        }
        let via = NodeId(random.random_range(1..=shape.nodes));
        let Some((running, group)) = replica::<Registers>(sim, via, GROUP) else { continue };
        let to = number + 1;
        let ticket = sim.invoke(key, "raise", json!(key), json!(to), Some(via));
        written.invoked.push((sim.now(), to));
        let options = WriteOptions { session: None, timeout: PATIENCE };
        match running.ask(2 * PATIENCE, group.write(&Command::Raise { key, to }, options)).await {
            Some(Ok(_)) => {
                written.acknowledged.push((sim.now(), to));
                ticket.ok(json!(to));
            }
            Some(Err(error)) if error.is_definite() => ticket.fail(error),
            Some(Err(error)) => ticket.info(error),
            None => ticket.info("no answer"),
        }
    }
    written
}

async fn read(sim: &Sim, shape: &Shape, client: u64) -> Vec<Seen> {
    let mut all = Vec::new();
    for number in 0..shape.operations {
        let mut random = sim.random("bounded reader", client << 32 | number);
        let pause = random.random_range(0..2 * shape.length.as_millis() as u64 / shape.operations);
        sim.sleep(Duration::from_millis(pause)).await;
        if !sim.plan().keeps(client, number) {
            continue;
        }
        let via = NodeId(random.random_range(1..=shape.nodes));
        let key = random.random_range(0..2);
        let bound = Duration::from_millis([0, 20, 100, 1_000][random.random_range(0..4)]);
        let consistency = if random.random_range(0..5) == 0 { Consistency::Local } else { Consistency::Bounded(bound) };
        let Some((running, group)) = replica::<Registers>(sim, via, GROUP) else { continue };
        let ticket = sim.invoke(client, "read", json!(key), json!(format!("{consistency:?}")), Some(via));
        let began = sim.now();
        match running.ask(2 * PATIENCE, group.read(consistency, &Query::Value(key), PATIENCE)).await {
            Some(Ok(reply)) => {
                let ended = sim.now();
                let Answer::Value(value) = reply.answer else { continue };
                let value = value.unwrap_or(0);
                if reply.proof.staleness.is_some_and(|staleness| staleness > bound) {
                    sim.violate("a bounded read keeps its bound", format!("{bound:?}: {:?}", reply.proof));
                }
                ticket.ok(json!([value, format!("{:?}", reply.proof.staleness)]));
                all.push(Seen {
                    key,
                    began,
                    ended,
                    value,
                    staleness: reply.proof.staleness,
                    claims: format!("client {client} through {via}: {consistency:?} {:?}", reply.proof),
                });
            }
            Some(Err(error)) => ticket.fail(error),
            None => ticket.fail("no answer"),
        }
    }
    all
}

/// A read saw what it had to see by its own word, and nothing that was not even asked for.
fn judge(sim: &Sim, seen: &Seen, written: &Written) {
    let Seen { began, ended, value, staleness, claims, .. } = seen;
    // The age counts until the reply was made, which was not before the read began.
    if let Some(staleness) = staleness {
        let since = began.saturating_sub(*staleness);
        let floor = written.acknowledged.iter().filter(|(at, _)| *at < since).map(|(_, value)| *value).max();
        if floor.is_some_and(|floor| *value < floor) {
            let text = format!("{claims} saw {value} at {began:?}..{ended:?}, and {floor:?} was acknowledged before");
            sim.violate("a read is never older than it says", text);
        }
    }
    let ceiling = written.invoked.iter().filter(|(at, _)| at <= ended).map(|(_, value)| *value).max();
    if *value > ceiling.unwrap_or(0) {
        sim.violate("a read sees nothing from the future", format!("{claims} saw {value} at {ended:?}"));
    }
}
