//! The hub that the nodes of a simulated cluster share, and a test's hand on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::MemoryTransport;
use super::link::{Link, LinkFaults, Rules};
use super::node::{Node, Power};
use super::traffic::Traffic;
use super::wire::{Condition, Cut, Wire};
use crate::env::Env;
use crate::transport::Inbound;
use crate::types::NodeId;

/// A network of nodes in one process. Clones share it.
///
/// Faults may be changed at any time and count for the messages sent from then on; a message is also lost when the
/// link is cut at the moment at which it would arrive.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Shared>);

struct Shared {
    env: Arc<dyn Env>,
    seed: u64,
    hub: Mutex<Hub>,
}

#[derive(Default)]
struct Hub {
    nodes: BTreeMap<NodeId, Arc<Node>>,
    wires: BTreeMap<(NodeId, NodeId), Arc<Wire>>,
    power: BTreeMap<NodeId, Power>,
    faults: Rules<LinkFaults>,
    cuts: Rules<Option<Cut>>,
    isolated: BTreeSet<NodeId>,
}

impl MemoryNetwork {
    /// A network without faults. All randomness of its links follows from `seed`.
    pub fn new(env: Arc<dyn Env>, seed: u64) -> Self {
        MemoryNetwork(Arc::new(Shared { env, seed, hub: Mutex::default() }))
    }

    /// Has `inbound` receive the messages for `node`, running, as a new life of it. The network does not keep it
    /// alive: once dropped, it is unreachable.
    pub fn register<I: Inbound>(&self, node: NodeId, inbound: &Arc<I>) {
        let inbound: Arc<dyn Inbound> = Arc::<I>::clone(inbound);
        let mut hub = self.lock();
        hub.node(node).set_inbound(Some(Arc::downgrade(&inbound)));
        hub.set_power(node, Power::Running);
    }

    /// Nobody receives the messages for `node` any more: it is unreachable, what is on its way to it, or has not left it
    /// because it is paused, is lost, and so are the answers that it still owes.
    pub fn unregister(&self, node: NodeId) {
        let mut hub = self.lock();
        hub.node(node).set_inbound(None);
        for ((from, to), wire) in &hub.wires {
            if *to == node {
                wire.discard();
            } else if *from == node {
                wire.discard_unsent();
            }
        }
    }

    /// The end of the network that `node` sends on. A node may send without being registered.
    pub fn transport(&self, node: NodeId) -> Arc<MemoryTransport> {
        let node = self.lock().node(node);
        Arc::new(MemoryTransport::new(self.clone(), node))
    }

    /// From now on this goes wrong on `link`, in place of what did before.
    pub fn set_faults(&self, link: Link, faults: LinkFaults) {
        self.change(|hub| hub.faults.set(link, faults));
    }

    /// Nothing goes wrong on any link any more; cuts, pauses and stops remain.
    pub fn clear_faults(&self) {
        self.change(|hub| hub.faults.clear());
    }

    /// Cuts `link`: messages vanish without a word. One direction only, unless the other is cut too.
    pub fn cut(&self, link: Link) {
        self.change(|hub| hub.cuts.set(link, Some(Cut::Silent)));
    }

    /// Cuts `link` so that a sender is told at once that the other end is unreachable.
    pub fn refuse(&self, link: Link) {
        self.change(|hub| hub.cuts.set(link, Some(Cut::Refusing)));
    }

    /// Joins `link` again.
    pub fn heal(&self, link: Link) {
        self.change(|hub| hub.cuts.set(link, None));
    }

    /// Joins all links, and all isolated nodes.
    pub fn heal_all(&self) {
        self.change(|hub| {
            hub.cuts.clear();
            hub.isolated.clear();
        });
    }

    /// Cuts every link between nodes of different sides, silently.
    pub fn partition(&self, sides: &[BTreeSet<NodeId>]) {
        self.change(|hub| {
            for (i, side) in sides.iter().enumerate() {
                for other in sides.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, other)| other) {
                    side.iter().for_each(|node| hub.cuts.set(Link::one(*node, *other), Some(Cut::Silent)));
                }
            }
        });
    }

    /// Cuts `node` off from all others, silently, both ways; other cuts are not touched.
    pub fn isolate(&self, node: NodeId) {
        self.change(|hub| {
            hub.isolated.insert(node);
        });
    }

    /// Ends the isolation of `node`; cuts of its links remain.
    pub fn rejoin(&self, node: NodeId) {
        self.change(|hub| {
            hub.isolated.remove(&node);
        });
    }

    /// Pauses `node` as SIGSTOP would: nothing reaches it and nothing that it sends leaves, until [`Self::resume`]
    /// lets all of it go on in order. What it had sent before still arrives.
    pub fn pause(&self, node: NodeId) {
        self.lock().set_power(node, Power::Paused);
    }

    /// Ends a pause. Nothing happens to a node that is not paused.
    pub fn resume(&self, node: NodeId) {
        let mut hub = self.lock();
        if hub.power(node) == Power::Paused {
            hub.set_power(node, Power::Running);
        }
    }

    /// Stops `node`: it is unreachable, and what is on its way to it, or has not left it because it is paused, is
    /// lost, as are the answers that it still owes. What it had sent before still arrives.
    pub fn stop(&self, node: NodeId) {
        let mut hub = self.lock();
        hub.node(node).end_life();
        hub.set_power(node, Power::Stopped);
    }

    /// Ends a stop; [`Self::register`] does so too.
    pub fn start(&self, node: NodeId) {
        let mut hub = self.lock();
        if hub.power(node) == Power::Stopped {
            hub.set_power(node, Power::Running);
        }
    }

    /// What all nodes have sent since the beginning.
    pub fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.lock().nodes.values().for_each(|node| sum.add(&node.traffic()));
        sum
    }

    /// What `node` has sent since the beginning, over all its lives.
    pub fn traffic_of(&self, node: NodeId) -> Traffic {
        self.lock().node(node).traffic()
    }

    pub(super) fn env(&self) -> &Arc<dyn Env> {
        &self.0.env
    }

    /// The wire of a link, made when it is first asked for.
    pub(super) fn wire(&self, from: NodeId, to: NodeId) -> Arc<Wire> {
        let mut hub = self.lock();
        if let Some(wire) = hub.wires.get(&(from, to)) {
            return Arc::clone(wire);
        }
        let seed = mixed(mixed(self.0.seed ^ from.0) ^ to.0);
        let wire = Arc::new(Wire::new(Arc::clone(&self.0.env), hub.node(to), seed, hub.condition(from, to)));
        hub.wires.insert((from, to), Arc::clone(&wire));
        wire
    }

    fn change(&self, what: impl FnOnce(&mut Hub)) {
        let mut hub = self.lock();
        what(&mut hub);
        hub.update_wires();
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryNetwork").field("seed", &self.0.seed).finish_non_exhaustive()
    }
}

impl Hub {
    fn node(&mut self, node: NodeId) -> Arc<Node> {
        Arc::clone(self.nodes.entry(node).or_insert_with(|| Arc::new(Node::new(node))))
    }

    fn power(&self, node: NodeId) -> Power {
        self.power.get(&node).copied().unwrap_or_default()
    }

    fn set_power(&mut self, node: NodeId, power: Power) {
        self.power.insert(node, power);
        self.update_wires();
    }

    fn condition(&self, from: NodeId, to: NodeId) -> Condition {
        let isolated = from != to && (self.isolated.contains(&from) || self.isolated.contains(&to));
        Condition {
            faults: self.faults.get(from, to),
            cut: self.cuts.get(from, to).or(isolated.then_some(Cut::Silent)),
            sender: self.power(from),
            receiver: self.power(to),
        }
    }

    fn update_wires(&self) {
        for ((from, to), wire) in &self.wires {
            wire.set_condition(self.condition(*from, *to));
        }
    }
}

/// SplitMix64's finish: neighbouring seeds give unrelated numbers.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
