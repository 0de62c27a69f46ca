//! Machines that keep their state on their own disk: each life starts from what an earlier one persisted, and from a log that
//! begins about there (`docs/state-machine.md`).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use quorate::fs::{Fs, read_whole, replace_durably};
use quorate::machine::{Backlog, Durable, Flush, Intake, StateDigest, decode, encode};
use quorate::snapshot::{SnapshotReader, SnapshotView};
use quorate::{EntryContext, StateMachine};

use super::machine::{Answer, Command, Query, Registers, Reply};
use super::registers::{act, judge};
use crate::sim::cluster::{Replicas, Settings, actions};
use crate::sim::heal::heal;
use crate::sim::plan::Kind;
use crate::sim::scenario::{Scenario, Shape};
use crate::sim::world::Sim;

/// Where a node keeps the state.
const FILE: &str = "/machine";

/// So many commands may wait to be persisted before the machine wants to be, and ...
const MUCH: u64 = 12;

/// ... so many before it applies no more.
const TOO_MUCH: u64 = 40;

/// The scenario `durable`.
#[derive(Debug)]
pub struct DurableScenario;

#[async_trait::async_trait(?Send)]
impl Scenario for DurableScenario {
    fn name(&self) -> &str {
        "durable"
    }

    fn about(&self) -> &str {
        "registers that persist themselves are linearizable through power failures"
    }

    fn shape(&self) -> Shape {
        let crashes = vec![Kind::Crash, Kind::CrashAll, Kind::Kill, Kind::act(actions::SNAPSHOT)];
        let suffers = [Kind::all(), Kind::times(2, &crashes)].concat();
        Shape { nodes: 3, length: Duration::from_secs(4), clients: 4, operations: 50, faults: 6, suffers }
    }

    async fn run(&self, sim: &Sim) {
        let shape = self.shape();
        let make = |life: &crate::sim::Life, _| Kept::open(life.fs());
        Replicas::new(Settings::small(), make).start(sim, shape.nodes).await;
        let calls = sim.history();
        let clients = join_all((0..shape.clients).map(|client| act::<Kept>(sim, &shape, client, &calls)));
        join(clients, sim.disturb()).await;
        if !heal::<Kept>(sim, 1, true).await {
            return;
        }
        judge(sim, &calls);
    }
}

/// Registers on a disk.
pub(super) struct Kept {
    registers: Registers,
    waiting: u64,
    store: Store,
}

/// The file, and what it holds.
#[derive(Clone)]
struct Store {
    fs: Arc<dyn Fs>,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    envelope: Option<Bytes>,
    fault: Option<String>,
    /// What an intake has just written.
    taken: Option<Registers>,
}

impl Kept {
    /// The registers as the disk has them.
    fn open(fs: Arc<dyn Fs>) -> Kept {
        let mut held = Held::default();
        let mut registers = Registers::default();
        match fs
            .metadata(Path::new(FILE))
            .and_then(|there| there.map(|_| read_whole(&*fs, Path::new(FILE))).transpose())
        {
            Ok(None) => {}
            Ok(Some(bytes)) => match decode::<(Bytes, Registers)>(&bytes) {
                Ok((envelope, there)) => {
                    held.envelope = Some(envelope);
                    registers = there;
                }
                Err(error) => held.fault = Some(error.to_string()),
            },
            Err(error) => held.fault = Some(error.to_string()),
        }
        Kept { registers, waiting: 0, store: Store { fs, held: Arc::new(Mutex::new(held)) } }
    }
}

impl Store {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, envelope: Bytes, registers: &Registers) -> io::Result<Box<dyn SnapshotView>> {
        replace_durably(&*self.fs, Path::new(FILE), &encode(&(&envelope, registers)))?;
        self.held().envelope = Some(envelope);
        Ok(registers.snapshot())
    }
}

/// A state on its way to the disk.
struct Aside(Store, Registers);

impl Flush for Aside {
    fn run(self: Box<Self>, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        self.0.write(envelope, &self.1)
    }
}

impl Intake for Aside {
    fn run(self: Box<Self>, reader: &mut dyn SnapshotReader, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        let mut registers = Registers::default();
        registers.restore(reader)?;
        let view = self.0.write(envelope, &registers)?;
        self.0.held().taken = Some(registers);
        Ok(view)
    }
}

impl Durable for Kept {
    fn persisted(&self) -> Option<Bytes> {
        self.store.held().envelope.clone()
    }

    fn backlog(&self) -> Backlog {
        match self.waiting {
            ..MUCH => Backlog::Little,
            MUCH..TOO_MUCH => Backlog::Much,
            _ => Backlog::TooMuch,
        }
    }

    fn fault(&self) -> Option<String> {
        self.store.held().fault.clone()
    }

    fn freeze(&mut self) -> Box<dyn Flush> {
        self.waiting = 0;
        Box::new(Aside(self.store.clone(), self.registers.clone()))
    }

    fn intake(&mut self) -> Box<dyn Intake> {
        Box::new(Aside(self.store.clone(), Registers::default()))
    }

    fn settle(&mut self) {
        if let Some(taken) = self.store.held().taken.take() {
            self.registers = taken;
            self.waiting = 0;
        }
    }
}

impl StateMachine for Kept {
    type Command = Command;
    type Reply = Reply;
    type Query = Query;
    type Answer = Answer;

    fn apply(&mut self, entry: EntryContext, command: Command) -> Reply {
        self.waiting += 1;
        self.registers.apply(entry, command)
    }

    fn query(&self, query: Query) -> Answer {
        self.registers.query(query)
    }

    fn digest(&self) -> Option<StateDigest> {
        self.registers.digest()
    }

    fn snapshot(&self) -> Box<dyn SnapshotView> {
        self.registers.snapshot()
    }

    fn restore(&mut self, reader: &mut dyn SnapshotReader) -> io::Result<()> {
        self.registers.restore(reader)
    }

    fn durable(&self) -> Option<&dyn Durable> {
        Some(self)
    }

    fn durable_mut(&mut self) -> Option<&mut dyn Durable> {
        Some(self)
    }
}
