//! Commands of sessions, retried through any node until they are known to be done: each happens once (`docs/guarantees.md`,
//! thesis §6.3).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join, join_all};
use quorate::sessions::ClientSession;
use quorate::{ClientId, Consistency, GroupId, NodeId, WriteError, WriteOptions};
use rand::RngExt;
use serde_json::json;

use super::machine::{Answer, Command, Query, Registers, Reply};
use crate::sim::cluster::{Replicas, Settings, actions, replica};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

const GROUP: GroupId = GroupId(1);

/// How long a client waits for an attempt.
const PATIENCE: Duration = Duration::from_millis(250);

/// How often a client tries.
const ATTEMPTS: u64 = 6;

/// What a client knows of one of its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was done, and the list was so long then.
    Done(u64),
    /// It was never proposed by any attempt.
    Rejected,
    Unknown,
}

/// The scenario `sessions`, or `writes` without sessions.
#[derive(Debug)]
pub struct SessionScenario {
    /// Whether commands have sessions, and are retried.
    pub sessions: bool,
}

#[async_trait::async_trait(?Send)]
impl Scenario for SessionScenario {
    fn name(&self) -> &str {
        if self.sessions { "sessions" } else { "writes" }
    }

    fn about(&self) -> &str {
        if self.sessions {
            "commands of sessions, retried across leaders, happen once; those rejected never do"
        } else {
            "what is acknowledged happened once, what is rejected never, what is unknown at most once"
        }
    }

    fn shape(&self) -> Shape {
        let suffers = [Kind::all(), vec![Kind::act(actions::TRANSFER), Kind::act(actions::SNAPSHOT)]].concat();
        Shape { nodes: 3, length: Duration::from_secs(4), clients: 4, operations: 40, faults: 6, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        Replicas::new(Settings::small(), |_, _| Registers::default()).start(sim, shape.nodes).await;
        let clients = join_all((0..shape.clients).map(|client| self.act(sim, &shape, client)));
        let (fates, ()) = join(clients, sim.disturb()).await;
        if !heal::<Registers>(sim, 1, true).await {
            return;
        }
        judge(sim, &fates.into_iter().flatten().collect()).await;
    }
}

impl SessionScenario {
    async fn act(&self, sim: &Sim, shape: &Shape, client: u64) -> Vec<(u64, Fate)> {
        let session = ClientSession::new(ClientId::new(format!("client {client}")));
        let mut is_open = !self.sessions;
        let mut fates = Vec::new();
        for number in 0..shape.operations {
            let mut random = sim.random("sessions", client << 32 | number);
            let pause = random.random_range(0..2 * shape.length.as_millis() as u64 / shape.operations);
            sim.sleep(Duration::from_millis(pause)).await;
            if !sim.plan().keeps(client, number) {
                continue;
            }
            if !is_open {
                is_open = open(sim, NodeId(random.random_range(1..=shape.nodes)), &session).await;
                if !is_open {
                    continue;
                }
            }
            let value = client * 1_000 + number + 1;
            let call = if self.sessions { session.call() } else { None };
            let mut fate = Fate::Rejected;
            let attempts = if self.sessions { ATTEMPTS } else { 1 };
            for attempt in 0..attempts {
                let via = NodeId(random.random_range(1..=shape.nodes));
                let stamp = call.as_ref().map(|call| call.stamp().clone());
                let options = WriteOptions { session: stamp, timeout: PATIENCE };
                match push(sim, client, via, value, options).await {
                    Fate::Rejected => {}
                    now => fate = now,
                }
                if matches!(fate, Fate::Done(_)) {
                    break;
                }
                sim.sleep(Duration::from_millis(20 * (attempt + 1))).await;
            }
            fates.push((value, fate));
        }
        fates
    }
}

async fn open(sim: &Sim, via: NodeId, session: &ClientSession) -> bool {
    let Some((running, group)) = replica::<Registers>(sim, via, GROUP) else { return false };
    let opened = running.ask(2 * PATIENCE, group.open_session(session.client().clone(), PATIENCE)).await;
    matches!(opened, Some(Ok(())))
}

async fn push(sim: &Sim, client: u64, via: NodeId, value: u64, options: WriteOptions) -> Fate {
    let Some((running, group)) = replica::<Registers>(sim, via, GROUP) else { return Fate::Rejected };
    let ticket = sim.invoke(client, "push", json!(null), json!(value), Some(via));
    match running.ask(2 * PATIENCE, group.write(&Command::Push { value }, options)).await {
        Some(Ok(written)) => match written.reply {
            Reply::Length(length) => {
                ticket.ok(json!(length));
                Fate::Done(length)
            }
            other => {
                sim.violate("a command has its own reply", format!("push {value}: {other:?}"));
                Fate::Unknown
            }
        },
        Some(Err(error @ WriteError::Rejected(_))) => {
            ticket.fail(error);
            Fate::Rejected
        }
        Some(Err(error)) => {
            ticket.info(error);
            Fate::Unknown
        }
        None => {
            ticket.info("no answer");
            Fate::Unknown
        }
    }
}

/// Compares the list with what clients know.
async fn judge(sim: &Sim, fates: &BTreeMap<u64, Fate>) {
    let Some((running, group)) = replica::<Registers>(sim, NodeId(1), GROUP) else { return };
    let patience = Duration::from_secs(10);
    let read = running.ask(patience, group.read(Consistency::Linearizable, &Query::List, patience)).await;
    let Some(Ok(reply)) = read else {
        return sim.violate("a healthy group answers", format!("{read:?}"));
    };
    let Answer::List(list) = reply.answer else { return };
    for (value, fate) in fates {
        let times = list.iter().filter(|held| *held == value).count();
        match fate {
            Fate::Done(length) if list.get(*length as usize - 1) != Some(value) => {
                sim.violate("what is acknowledged stays", format!("{value} was the {length}th and is not in {list:?}"));
            }
            Fate::Rejected if times > 0 => {
                sim.violate("what is rejected never happens", format!("{value} has happened {times} times"));
            }
            _ if times > 1 => {
                sim.violate("nothing happens twice", format!("{value} has happened {times} times: {fate:?}"));
            }
            _ => {}
        }
    }
    if let Some(stray) = list.iter().find(|value| !fates.contains_key(value)) {
        sim.violate("only what was asked for happens", format!("{stray} is in the list"));
    }
}
