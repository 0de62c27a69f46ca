//! The world of a run: nodes, the network between them, and a test's hand on all of it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate::env::{Env, VirtualEnv};
use quorate::fs::{CrashStyle, FaultyFs, SimFs};
use quorate::transport::{Link, LinkFaults, MemoryNetwork};
use quorate::{GroupId, NodeId};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::Value;

use super::counts::{Called, Tally};
use super::disk::SlowFs;
use super::env::NodeEnv;
use super::life::{AnyProcess, Life, Parts, Program};
use super::observer::Observer;
use super::plan::Plan;
use super::trace::Trace;
use crate::history::History;
use crate::run::EventKind;

/// How long a node may take to start, or a call of the world's to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The world of one run. Clones are the same.
#[derive(Clone)]
pub struct Sim(Arc<World>);

pub(super) struct World {
    pub(super) plan: Plan,
    start: tokio::time::Instant,
    env: Arc<VirtualEnv>,
    pub(super) network: MemoryNetwork,
    pub(super) trace: Trace,
    pub(super) tally: Tally,
    pub(super) observer: Observer,
    program: Mutex<Option<Arc<dyn Program>>>,
    pub(super) machines: Mutex<BTreeMap<NodeId, Machine>>,
}

/// A node, running or not: what survives its lives.
pub(super) struct Machine {
    pub(super) disk: SimFs,
    /// What its disk does wrong, whatever its life.
    pub(super) slowness: Arc<AtomicU64>,
    wall_ahead_ms: Arc<AtomicI64>,
    lives: u64,
    /// That it does not start is then no wonder.
    pub(super) excused: Arc<AtomicBool>,
    life: Option<(Life, AnyProcess)>,
    /// It has a life, whose program has not started yet.
    booting: Option<Life>,
}

/// A program that runs on a node, as its scenario knows it.
pub struct Running<P> {
    /// The life in which it runs.
    pub life: Life,
    /// The program.
    pub process: Arc<P>,
}

impl<P> Running<P> {
    /// A call from outside to the program, which waits while the node is paused. `None` when it has not ended in so long, or
    /// the node has crashed: what came of it is not known.
    pub async fn ask<T>(&self, timeout: Duration, call: impl Future<Output = T>) -> Option<T> {
        // The client's patience is no task of the node's.
        tokio::time::timeout(timeout, self.life.gate().through(call)).await.ok().flatten()
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("plan", &self.0.plan).finish_non_exhaustive()
    }
}

impl Sim {
    /// The world at its beginning. To be made inside the run's runtime.
    pub(super) fn new(plan: Plan, trace: Trace, tally: Tally) -> Sim {
        let env = Arc::new(VirtualEnv::new(plan.seed));
        let network = MemoryNetwork::new(Arc::clone(&env) as Arc<dyn Env>, plan.seed);
        let observer = Observer::new(trace.clone(), tally.clone());
        let world = World {
            plan,
            start: tokio::time::Instant::now(),
            env,
            network,
            trace,
            tally,
            observer,
            program: Mutex::default(),
            machines: Mutex::default(),
        };
        let sim = Sim(Arc::new(world));
        sim.usual_network();
        sim
    }

    /// What this run is.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// How long the run has taken.
    pub fn now(&self) -> Duration {
        self.0.trace.now()
    }

    /// The world's own clock, which belongs to no node: clients outside of them go by it.
    pub fn env(&self) -> Arc<dyn Env> {
        Arc::clone(&self.0.env) as Arc<dyn Env>
    }

    /// Lets time pass.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits until `condition` holds, at most for so long. Whether it does.
    pub async fn eventually(&self, within: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = self.now() + within;
        while !condition() {
            if self.now() >= deadline {
                return false;
            }
            self.sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// A generator of its own for each purpose and number: what is left out of a plan does not change what remains.
    pub fn random(&self, purpose: &str, number: u64) -> SmallRng {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.0.plan.seed;
        for byte in purpose.bytes().chain(number.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        SmallRng::seed_from_u64(hash)
    }

    /// An empty history on the run's clock.
    pub fn history<I, O>(&self) -> History<I, O> {
        let trace = self.0.trace.clone();
        History::with_clock(move || trace.now())
    }

    /// Records, for the report, that a client calls an operation. What it gives is to be ended by what came of it.
    pub fn invoke(&self, process: u64, f: &str, key: Value, value: Value, node: Option<NodeId>) -> Ticket {
        let called = Called { process, f: f.to_owned(), key, node };
        self.0.tally.event(&called, EventKind::Invoke, value, None);
        Ticket { called, tally: self.0.tally.clone() }
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        self.0.trace.note(None, what);
    }

    /// Something that must never happen has happened. `property` says in a few fixed words what was broken: a smaller plan
    /// fails the same way if it breaks the same.
    pub fn violate(&self, property: &str, reason: String) {
        self.0.observer.violate(property, reason);
    }

    /// Whether something was violated already.
    pub fn is_violated(&self) -> bool {
        self.0.observer.is_violated()
    }

    /// Sees every step of the groups.
    pub fn observer(&self) -> &Observer {
        &self.0.observer
    }

    /// The network, for faults of a scenario's own.
    pub fn network(&self) -> &MemoryNetwork {
        &self.0.network
    }

    pub(super) fn world(&self) -> &World {
        &self.0
    }

    /// Says what runs on all nodes, and starts those with the numbers 1 to `nodes`.
    pub async fn start(&self, program: impl Program, nodes: u64) {
        *self.0.program.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(program));
        for node in (1..=nodes).map(NodeId) {
            self.boot(node).await;
        }
    }

    pub(super) fn program(&self) -> Option<Arc<dyn Program>> {
        self.0.program.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn machines(&self) -> MutexGuard<'_, BTreeMap<NodeId, Machine>> {
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a node, new or on what its disk holds. Nothing happens if it runs.
    pub async fn boot(&self, node: NodeId) {
        let Some(program) = self.program() else { return };
        let Some((life, excused)) = self.begin_life(node) else { return };
        self.0.trace.note(Some(node), format_args!("== starts life {}", life.number()));
        let booted = tokio::time::timeout(PATIENCE, life.gate().through(program.boot(&life))).await;
        match booted {
            Ok(Some(Ok(process))) => {
                if let Some(machine) = self.machines().get_mut(&node)
                    && machine.booting.as_ref().is_some_and(|booting| booting.number() == life.number())
                {
                    machine.booting = None;
                    machine.life = Some((life, process));
                }
            }
            Ok(Some(Err(error))) => {
                self.0.trace.note(Some(node), format_args!("== does not start: {error}"));
                if !excused.load(Ordering::Relaxed) {
                    self.violate("a node starts on what its disk holds", format!("{node} does not: {error}"));
                }
                self.end_life(node);
            }
            // It has crashed meanwhile.
            Ok(None) => {}
            Err(_) => {
                self.violate("a node starts", format!("{node} has not started in {PATIENCE:?}"));
            }
        }
    }

    fn begin_life(&self, node: NodeId) -> Option<(Life, Arc<AtomicBool>)> {
        let mut machines = self.machines();
        let machine = machines.entry(node).or_insert_with(Machine::new);
        if machine.life.is_some() || machine.booting.is_some() {
            return None;
        }
        machine.lives += 1;
        let mut random = self.random("life", node.0 << 32 | machine.lives);
        let seed = rand::Rng::next_u64(&mut random);
        let env = Arc::new(NodeEnv::new(seed, self.0.start, Arc::clone(&machine.wall_ahead_ms)));
        let dynamic = || Arc::clone(&env) as Arc<dyn Env>;
        let faults = FaultyFs::new(Arc::new(machine.disk.clone()), dynamic());
        let slowness = Arc::clone(&machine.slowness);
        let fs = Arc::new(SlowFs::new(node, Arc::new(faults.clone()), dynamic(), slowness, self.0.trace.clone()));
        let life = Life(Arc::new(Parts {
            node,
            number: machine.lives,
            env,
            fs,
            faults,
            network: self.0.network.clone(),
            observer: self.0.observer.clone(),
            trace: self.0.trace.clone(),
            tally: self.0.tally.clone(),
            inbound: Mutex::default(),
        }));
        machine.booting = Some(life.clone());
        Some((life, Arc::clone(&machine.excused)))
    }

    /// Ends a node's life at once: none of its tasks runs any more.
    fn end_life(&self, node: NodeId) -> bool {
        self.0.network.stop(node);
        let (life, process) = match self.machines().get_mut(&node) {
            Some(machine) => match (machine.life.take(), machine.booting.take()) {
                (Some((life, process)), _) => (life, Some(process)),
                (None, Some(life)) => (life, None),
                (None, None) => return false,
            },
            None => return false,
        };
        self.0.observer.life_ends(node);
        life.gate().end();
        drop(process);
        true
    }

    /// The power of a node fails: its disk forgets some of what was not synced. Whether it was running.
    pub fn crash(&self, node: NodeId, style: CrashStyle, seed: u64) -> bool {
        self.0.trace.note(Some(node), format_args!("== loses power, {style:?}"));
        let was_running = self.end_life(node);
        if let Some(machine) = self.machines().get_mut(&node) {
            machine.disk = machine.disk.crash_as(seed, style);
        }
        self.0.observer.power_lost(node);
        was_running
    }

    /// A node's process is killed; its disk forgets nothing. Whether it was running.
    pub fn kill(&self, node: NodeId) -> bool {
        self.0.trace.note(Some(node), format_args!("== is killed"));
        let was_running = self.end_life(node);
        if let Some(machine) = self.machines().get_mut(&node) {
            machine.disk = machine.disk.restart();
        }
        was_running
    }

    /// A node stands still, as after SIGSTOP.
    pub fn pause(&self, node: NodeId) {
        self.0.trace.note(Some(node), format_args!("== is paused"));
        self.0.network.pause(node);
        if let Some(life) = self.life(node) {
            life.gate().hold();
        }
    }

    /// It goes on.
    pub fn resume(&self, node: NodeId) {
        self.0.trace.note(Some(node), format_args!("== goes on"));
        self.0.network.resume(node);
        if let Some(life) = self.life(node) {
            life.gate().resume();
        }
    }

    /// A node's wall clock jumps, forwards or back.
    pub fn shift_wall(&self, node: NodeId, by_ms: i64) {
        self.0.trace.note(Some(node), format_args!("== its wall clock jumps by {by_ms} ms"));
        if let Some(machine) = self.machines().get(&node) {
            machine.wall_ahead_ms.fetch_add(by_ms, Ordering::Relaxed);
        }
    }

    /// Does something to a node's disk, which survives its lives.
    pub(super) fn with_machine<T>(&self, node: NodeId, act: impl FnOnce(&Machine) -> T) -> Option<T> {
        self.machines().get(&node).map(act)
    }

    /// All nodes, running or not.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.machines().keys().copied().collect()
    }

    /// The nodes whose program has started, paused or not.
    pub fn running(&self) -> Vec<NodeId> {
        self.machines().iter().filter(|(_, machine)| machine.life.is_some()).map(|(node, _)| *node).collect()
    }

    /// The life of a node, if it has one.
    pub fn life(&self, node: NodeId) -> Option<Life> {
        let machines = self.machines();
        let machine = machines.get(&node)?;
        machine.life.as_ref().map(|(life, _)| life).or(machine.booting.as_ref()).cloned()
    }

    /// The program on a node, if it runs and is a `P`.
    pub fn process<P: Any + Send + Sync>(&self, node: NodeId) -> Option<Running<P>> {
        let machines = self.machines();
        let (life, process) = machines.get(&node)?.life.as_ref()?;
        let process = Arc::clone(process).downcast::<P>().ok()?;
        Some(Running { life: life.clone(), process })
    }

    /// Who leads a group, as far as anybody knows: the leader of the newest term.
    pub fn leader(&self, group: GroupId) -> Option<NodeId> {
        self.0.observer.leader(group)
    }

    /// The network as it is when nothing is wrong: messages take a moment.
    pub(super) fn usual_network(&self) {
        let delays = LinkFaults::delayed(Duration::from_micros(50), Duration::from_micros(1_900));
        self.0.network.clear_faults();
        self.0.network.set_faults(Link::ALL, delays);
    }

    /// Ends all that is wrong, whoever did it: every node runs, on a whole disk, with a right clock, in a whole network.
    pub async fn calm(&self) {
        self.0.trace.note(None, format_args!("== all faults end"));
        self.0.network.heal_all();
        self.usual_network();
        for node in self.nodes() {
            self.resume(node);
            self.mend(node);
            if let Some(machine) = self.machines().get(&node) {
                machine.wall_ahead_ms.store(0, Ordering::Relaxed);
            }
            self.boot(node).await;
        }
    }

    /// Makes a disk whole again. A node whose disk has failed loses power over it.
    pub(super) fn mend(&self, node: NodeId) {
        let has_failed = self.with_machine(node, |machine| {
            machine.disk.set_capacity(None);
            machine.slowness.store(0, Ordering::Relaxed);
            machine.excused.swap(false, Ordering::Relaxed)
        });
        let is_stopped = || self.0.observer.has_stopped_replica(node);
        if has_failed == Some(true) && is_stopped() {
            self.crash(node, CrashStyle::Prefix, self.0.plan.seed);
        }
    }

    /// Forgets everything that runs, so that nothing keeps itself alive.
    pub(super) fn end(&self) {
        for node in self.nodes() {
            self.end_life(node);
        }
        self.0.program.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Machine {
    fn new() -> Self {
        Machine {
            disk: SimFs::new(),
            slowness: Arc::default(),
            wall_ahead_ms: Arc::default(),
            lives: 0,
            excused: Arc::default(),
            life: None,
            booting: None,
        }
    }
}

/// An operation that was called. Dropped, nobody knows what came of it.
#[must_use = "what came of it is to be recorded"]
pub struct Ticket {
    called: Called,
    tally: Tally,
}

impl Ticket {
    /// It took effect and answered this.
    pub fn ok(self, value: Value) {
        self.tally.event(&self.called, EventKind::Ok, value, None);
    }

    /// It never happens.
    pub fn fail(self, why: impl fmt::Display) {
        self.tally.event(&self.called, EventKind::Fail, Value::Null, Some(why.to_string()));
    }

    /// Nobody knows.
    pub fn info(self, why: impl fmt::Display) {
        self.tally.event(&self.called, EventKind::Info, Value::Null, Some(why.to_string()));
    }
}
