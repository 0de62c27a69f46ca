//! Registers that clients read, write and compare-and-set through any node: what they see could have happened one operation
//! after the other (`docs/guarantees.md`).

use std::time::Duration;

use futures::future::{join, join_all};
use quorate::{Consistency, GroupId, NodeId, ReadError, WriteError, WriteOptions};
use rand::RngExt;
use serde_json::json;

use super::machine::{Answer, Command, LikeRegisters, Query, Registers, Reply};
use crate::checker::register::{Register, RegisterAnswer, RegisterOp};
use crate::checker::{Keyed, Limits, Verdict, check};
use crate::history::History;
use crate::sim::cluster::{Replicas, Settings, actions, replica};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

pub(super) type Calls = History<Keyed<RegisterOp<u64>>, RegisterAnswer<u64>>;

const GROUP: GroupId = GroupId(1);

/// How long a client waits.
const PATIENCE: Duration = Duration::from_millis(600);

/// Few enough that clients meet.
const KEYS: u64 = 3;

/// The scenario `registers`.
#[derive(Debug)]
pub struct RegisterScenario;

#[async_trait::async_trait(?Send)]
impl Scenario for RegisterScenario {
    fn name(&self) -> &str {
        "registers"
    }

    fn about(&self) -> &str {
        "reads of every consistency, writes and compare-and-sets of three registers are linearizable"
    }

    fn shape(&self) -> Shape {
        let suffers = [Kind::all(), vec![Kind::act(actions::TRANSFER), Kind::act(actions::SNAPSHOT)]].concat();
        Shape { nodes: 3, length: Duration::from_secs(4), clients: 4, operations: 50, faults: 6, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        Replicas::new(Settings::small(), |_, _| Registers::default()).start(sim, shape.nodes).await;
        let calls = sim.history();
        let clients = join_all((0..shape.clients).map(|client| act::<Registers>(sim, &shape, client, &calls)));
        join(clients, sim.disturb()).await;
        if !heal::<Registers>(sim, 1, true).await {
            return;
        }
        // What every acknowledged write has come to is seen once more, by a client that comes last.
        for key in 0..KEYS {
            let last = At { sim, client: shape.clients, via: NodeId(1), group: GROUP, key, calls: &calls };
            last.read::<Registers>(Consistency::Linearizable).await;
        }
        judge(sim, &calls);
    }
}

/// How far a simulated run's history is searched: by configurations alone. A busy machine must not make another run of it.
pub(crate) fn limits() -> Limits {
    Limits { time: Duration::MAX, ..Limits::default() }
}

/// Judges what clients of registers saw.
pub(super) fn judge(sim: &Sim, calls: &Calls) {
    let history = calls.operations();
    match check(&Register::empty(), &history, limits()) {
        Verdict::Linearizable => {}
        Verdict::NotLinearizable(found) => sim.violate("what clients see is linearizable", found.describe(&history)),
        verdict @ Verdict::Unknown(_) => sim.violate("a history can be judged", verdict.to_string()),
    }
}

/// One client of one group.
pub(super) async fn act<M: LikeRegisters>(sim: &Sim, shape: &Shape, client: u64, calls: &Calls) {
    for number in 0..shape.operations {
        act_on::<M>(sim, shape, client, number, GROUP, calls).await;
    }
}

/// One operation of one client, after a pause.
pub(super) async fn act_on<M: LikeRegisters>(
    sim: &Sim,
    shape: &Shape,
    client: u64,
    number: u64,
    group: GroupId,
    calls: &Calls,
) {
    let mut random = sim.random("registers", client << 32 | number);
    let pause = random.random_range(0..2 * shape.length.as_millis() as u64 / shape.operations);
    sim.sleep(Duration::from_millis(pause)).await;
    if !sim.plan().keeps(client, number) {
        return;
    }
    let via = NodeId(random.random_range(1..=shape.nodes));
    // A node that belongs to no group may know nobody to hand on to: mostly those that do are asked.
    let members = sim.observer().members(group);
    let via = match members.get(via.0 as usize % members.len().max(1)) {
        Some(member) if !number.is_multiple_of(8) => *member,
        _ => via,
    };
    let at = At { sim, client, via, group, key: random.random_range(0..KEYS), calls };
    // Values of different writes differ, so that a read tells which one it saw.
    let fresh = client * 1_000 + number + 1;
    match random.random_range(0..8) {
        0..3 => at.write::<M>(RegisterOp::Write(fresh)).await,
        3 => {
            let from = random.random_range(0..shape.clients) * 1_000 + random.random_range(1..=number + 1);
            at.write::<M>(RegisterOp::Cas { from, to: fresh, create: false }).await;
        }
        choice => {
            let all = [
                Consistency::Linearizable,
                Consistency::LinearizableHere,
                Consistency::Lease,
                Consistency::Bounded(Duration::ZERO),
            ];
            at.read::<M>(all[choice % all.len()]).await;
        }
    }
}

/// Where an operation is made.
struct At<'a> {
    sim: &'a Sim,
    client: u64,
    via: NodeId,
    group: GroupId,
    key: u64,
    calls: &'a Calls,
}

impl At<'_> {
    async fn write<M: LikeRegisters>(&self, op: RegisterOp<u64>) {
        let At { sim, client, via, group, key, calls } = *self;
        let command = match &op {
            RegisterOp::Write(value) => Command::Write { key, value: *value },
            RegisterOp::Cas { from, to, .. } => Command::Cas { key, from: *from, to: *to },
            RegisterOp::Read | RegisterOp::Delete => return,
        };
        let Some((running, group)) = replica::<M>(sim, via, group) else { return };
        let (f, value) = match &command {
            Command::Cas { from, to, .. } => ("cas", json!([from, to])),
            Command::Write { value, .. } => ("write", json!(value)),
            _ => return,
        };
        let ticket = sim.invoke(client, f, json!(key), value.clone(), Some(via));
        let call = calls.invoke(client, Keyed::new(key.to_string(), op));
        let options = WriteOptions { session: None, timeout: PATIENCE };
        match running.ask(2 * PATIENCE, group.write(&command, options)).await {
            Some(Ok(written)) if written.reply == Reply::Refused => {
                call.ok(RegisterAnswer::Refused);
                ticket.ok(json!("refused"));
            }
            Some(Ok(_)) => {
                call.ok(RegisterAnswer::Done);
                ticket.ok(value);
            }
            Some(Err(error @ WriteError::Rejected(_))) => {
                call.fail();
                ticket.fail(error);
            }
            Some(Err(error)) => ticket.info(error),
            None => ticket.info("no answer"),
        }
    }

    async fn read<M: LikeRegisters>(&self, consistency: Consistency) {
        let At { sim, client, via, group, key, calls } = *self;
        let Some((running, group)) = replica::<M>(sim, via, group) else { return };
        let ticket = sim.invoke(client, "read", json!(key), json!(format!("{consistency:?}")), Some(via));
        let call = calls.invoke(client, Keyed::new(key.to_string(), RegisterOp::Read));
        match running.ask(2 * PATIENCE, group.read(consistency, &Query::Value(key), PATIENCE)).await {
            Some(Ok(reply)) => {
                let Answer::Value(value) = reply.answer else {
                    return sim.violate("a query has its own answer", "a register's value is a list".into());
                };
                if !reply.proof.linearizable {
                    sim.violate(
                        "a read is as fresh as it was asked to be",
                        format!("{consistency:?}: {:?}", reply.proof),
                    );
                }
                call.ok(RegisterAnswer::Value(value));
                ticket.ok(json!(value));
            }
            Some(Err(error @ (ReadError::Rejected(_) | ReadError::Deadline(_) | ReadError::Fatal(_)))) => {
                call.fail();
                ticket.fail(error);
            }
            None => {
                call.fail();
                ticket.fail("no answer");
            }
        }
    }
}
