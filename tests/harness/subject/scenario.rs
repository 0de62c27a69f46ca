//! A subject as a scenario of the simulation.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use quorate::sessions::ClientSession;
use quorate::{ClientId, Consistency, GroupId, NodeId, StateMachine, WriteError, WriteOptions};
use rand::RngExt;
use serde_json::{Value, json};

use super::{Operation, OperationOf, Returned, Subject};
use crate::checker::{Model, Verdict, check};
use crate::history::History;
use crate::sim::scenarios::limits;
use crate::sim::{Kind, Process, Replicas, Scenario, Settings, Shape, Sim, actions, heal};

const GROUP: GroupId = GroupId(1);

/// How long a client waits for one attempt.
const PATIENCE: Duration = Duration::from_millis(400);

/// How often a client in a session tries.
const ATTEMPTS: u64 = 4;

/// All that a machine in memory may suffer.
pub(super) fn usual_faults() -> Vec<Kind> {
    [Kind::all(), vec![Kind::act(actions::TRANSFER), Kind::act(actions::SNAPSHOT)]].concat()
}

#[derive(Debug)]
pub(super) struct SubjectScenario<S> {
    /// Shared with the nodes, which make machines of it.
    pub(super) subject: Arc<S>,
    pub(super) shape: Shape,
}

type Calls<S> = History<<<S as Subject>::Model as Model>::Input, <<S as Subject>::Model as Model>::Output>;

#[async_trait::async_trait(?Send)]
impl<S: Subject> Scenario for SubjectScenario<S> {
    fn name(&self) -> &str {
        self.subject.name()
    }

    fn about(&self) -> &str {
        "what clients see of it could have happened one operation after the other"
    }

    fn shape(&self) -> Shape {
        self.shape.clone()
    }

    async fn run(&self, sim: &Sim) {
        let subject = Arc::clone(&self.subject);
        Replicas::new(Settings::small(), move |_, _| subject.machine()).start(sim, self.shape.nodes).await;
        let calls: Calls<S> = sim.history();
        let clients = join_all((0..self.shape.clients).map(|client| self.act(sim, client, &calls)));
        join(clients, sim.disturb()).await;
        let compare = self.subject.machine().digest().is_some();
        if !heal::<S::Machine>(sim, 1, compare).await {
            return;
        }
        self.ask_all_nodes(sim, &calls).await;
        let history = calls.operations();
        match check(&self.subject.model(), &history, limits()) {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(found) => {
                sim.violate("what clients see is linearizable", found.describe(&history))
            }
            verdict @ Verdict::Unknown(_) => sim.violate("a history can be judged", verdict.to_string()),
        }
    }
}

impl<S: Subject> SubjectScenario<S> {
    async fn act(&self, sim: &Sim, client: u64, calls: &Calls<S>) {
        let Shape { operations, length, nodes, .. } = self.shape;
        // Every other client has a session, and does not give up so soon.
        let session = (client % 2 == 1).then(|| ClientSession::new(ClientId::new(format!("client {client}"))));
        let mut is_open = false;
        for number in 0..operations {
            let mut random = sim.random("subject", client << 32 | number);
            let pause = random.random_range(0..=2 * length.as_millis() as u64 / operations.max(1));
            sim.sleep(Duration::from_millis(pause)).await;
            let operation = self.subject.generate(&mut random);
            if !sim.plan().keeps(client, number) {
                continue;
            }
            let vias: Vec<NodeId> = (0..ATTEMPTS).map(|_| NodeId(random.random_range(1..=nodes))).collect();
            if let Some(session) = session.as_ref().filter(|_| !is_open) {
                is_open = open::<S::Machine>(sim, vias[0], session).await;
                if !is_open {
                    continue;
                }
            }
            match &operation {
                Operation::Command(command) => {
                    let attempts = if session.is_some() { &vias[..] } else { &vias[..1] };
                    self.command(sim, client, attempts, command, &operation, session.as_ref(), calls).await;
                }
                Operation::Query(query) => {
                    let ways = [Consistency::Linearizable, Consistency::LinearizableHere, Consistency::Lease];
                    let way = ways[random.random_range(0..ways.len())];
                    self.query(sim, client, vias[0], way, query, &operation, calls).await;
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn command(
        &self,
        sim: &Sim,
        client: u64,
        vias: &[NodeId],
        command: &<S::Machine as StateMachine>::Command,
        operation: &OperationOf<S>,
        session: Option<&ClientSession>,
        calls: &Calls<S>,
    ) {
        let ticket = sim.invoke(client, "command", Value::Null, json!(format!("{command:?}")), vias.first().copied());
        let call = calls.invoke(client, self.subject.input(operation));
        let numbered = session.and_then(ClientSession::call);
        let mut unknown = None;
        for via in vias {
            let Some(running) = sim.process::<Process<S::Machine>>(*via) else { continue };
            let stamp = numbered.as_ref().map(|numbered| numbered.stamp().clone());
            let options = WriteOptions { session: stamp, timeout: PATIENCE };
            match running.ask(2 * PATIENCE, running.process.groups[&GROUP].write(command, options)).await {
                Some(Ok(written)) => {
                    ticket.ok(json!(format!("{:?}", written.reply)));
                    return call.ok(self.subject.output(operation, Returned::Reply(written.reply)));
                }
                Some(Err(WriteError::Rejected(_))) => {}
                Some(Err(error)) => unknown = Some(error.to_string()),
                None => unknown = Some("no answer".to_owned()),
            }
        }
        match unknown {
            Some(why) => ticket.info(why),
            None => {
                call.fail();
                ticket.fail("rejected");
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    async fn query(
        &self,
        sim: &Sim,
        client: u64,
        via: NodeId,
        way: Consistency,
        query: &<S::Machine as StateMachine>::Query,
        operation: &OperationOf<S>,
        calls: &Calls<S>,
    ) {
        let Some(running) = sim.process::<Process<S::Machine>>(via) else { return };
        let ticket = sim.invoke(client, "query", Value::Null, json!(format!("{query:?}")), Some(via));
        let call = calls.invoke(client, self.subject.input(operation));
        match running.ask(2 * PATIENCE, running.process.groups[&GROUP].read(way, query, PATIENCE)).await {
            Some(Ok(reply)) => {
                ticket.ok(json!(format!("{:?}", reply.answer)));
                call.ok(self.subject.output(operation, Returned::Answer(reply.answer)));
            }
            Some(Err(error)) => {
                call.fail();
                ticket.fail(error);
            }
            None => {
                call.fail();
                ticket.fail("no answer");
            }
        }
    }

    /// Has every node answer a few queries at the end: what only one of them holds wrongly shows.
    async fn ask_all_nodes(&self, sim: &Sim, calls: &Calls<S>) {
        for node in sim.running() {
            for number in 0..8 {
                let mut random = sim.random("last", number);
                let operation = self.subject.generate(&mut random);
                if let Operation::Query(query) = &operation {
                    let way = Consistency::LinearizableHere;
                    self.query(sim, self.shape.clients, node, way, query, &operation, calls).await;
                }
            }
        }
    }
}

async fn open<M: StateMachine>(sim: &Sim, via: NodeId, session: &ClientSession) -> bool {
    let Some(running) = sim.process::<Process<M>>(via) else { return false };
    let open = running.process.groups[&GROUP].open_session(session.client().clone(), PATIENCE);
    matches!(running.ask(2 * PATIENCE, open).await, Some(Ok(())))
}
