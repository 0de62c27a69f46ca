//! The tests' machine on a disk of its own, which is a place in memory that survives the node.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use quorate::StateMachine;
use quorate::machine::{Backlog, Durable, Flush, Intake};
use quorate::snapshot::{SnapshotReader, SnapshotView};

use super::Register;

/// So many commands may wait to be persisted before the machine wants to be.
pub(crate) const MUCH: u64 = 20;

/// What survives, and in which life of its machine it is looked at.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Held>>, u64);

#[derive(Default)]
pub(crate) struct Held {
    /// A flush of an earlier life may end late.
    life: u64,
    persisted: Option<(Bytes, Register)>,
    /// What a flush or an intake has just written.
    done: Option<Done>,
    pub(crate) flushes: u64,
    pub(crate) intakes: u64,
    /// The most commands that ever waited.
    pub(crate) waited_max: u64,
    /// Reads fail from now on.
    pub(crate) broken: bool,
    /// Writes fail from now on.
    pub(crate) full: bool,
    /// Flushes wait as long as this is set.
    pub(crate) slow: bool,
    /// Whether one waits.
    pub(crate) is_waited_for: bool,
}

enum Done {
    Flushed,
    TakenIn(Register),
}

impl Disk {
    pub(crate) fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    /// The machine as it was persisted.
    pub(crate) fn open(&self) -> Register {
        let mut held = self.held();
        held.life += 1;
        let disk = Disk(Arc::clone(&self.0), held.life);
        let persisted = held.persisted.as_ref().map(|(_, register)| register.clone()).unwrap_or_default();
        Register { disk: Some(disk), waiting: 0, ..persisted }
    }

    /// Loses everything.
    pub(crate) fn wipe(&self) {
        *self.held() = Held::default();
    }

    fn write(&self, envelope: Bytes, register: Register, done: Done) -> io::Result<Box<dyn SnapshotView>> {
        let mut held = self.held();
        if held.full || held.broken || held.life != self.1 {
            return Err(io::Error::other("the disk takes nothing"));
        }
        let view = register.snapshot();
        held.done = Some(done);
        held.persisted = Some((envelope, register));
        Ok(view)
    }
}

struct Aside(Disk, Register);

impl Flush for Aside {
    fn run(self: Box<Self>, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        while self.0.held().slow {
            self.0.held().is_waited_for = true;
            std::thread::sleep(Duration::from_millis(1));
        }
        let view = self.0.write(envelope, self.1, Done::Flushed)?;
        self.0.held().flushes += 1;
        Ok(view)
    }
}

impl Intake for Aside {
    fn run(self: Box<Self>, reader: &mut dyn SnapshotReader, envelope: Bytes) -> io::Result<Box<dyn SnapshotView>> {
        let mut register = Register::default();
        register.restore(reader)?;
        let view = self.0.write(envelope, register.clone(), Done::TakenIn(register))?;
        self.0.held().intakes += 1;
        Ok(view)
    }
}

impl Durable for Register {
    fn persisted(&self) -> Option<Bytes> {
        self.disk.as_ref()?.held().persisted.as_ref().map(|(envelope, _)| envelope.clone())
    }

    fn backlog(&self) -> Backlog {
        match self.waiting {
            ..MUCH => Backlog::Little,
            MUCH..100 => Backlog::Much,
            _ => Backlog::TooMuch,
        }
    }

    fn fault(&self) -> Option<String> {
        self.disk.as_ref().filter(|disk| disk.held().broken).map(|_| "a block cannot be read".into())
    }

    fn freeze(&mut self) -> Box<dyn Flush> {
        self.waiting = 0;
        let disk = self.disk.clone().unwrap();
        Box::new(Aside(disk, Register { disk: None, ..self.clone() }))
    }

    fn intake(&mut self) -> Box<dyn Intake> {
        Box::new(Aside(self.disk.clone().unwrap(), Register::default()))
    }

    fn settle(&mut self) {
        let disk = self.disk.clone().unwrap();
        let done = disk.held().done.take();
        match done.expect("settled after something was done") {
            Done::Flushed => {}
            Done::TakenIn(register) => *self = Register { disk: Some(disk), waiting: 0, ..register },
        }
    }
}
