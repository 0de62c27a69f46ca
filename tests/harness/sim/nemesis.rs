//! Carries a plan's faults out, each at its time, and ends each at its end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use quorate::NodeId;
use quorate::fs::{CrashStyle, Fault, Operation, Rule};
use quorate::transport::{Link, LinkFaults};

use super::plan::{Kind, Planned, Target};
use super::world::Sim;

type Links = BTreeSet<(NodeId, NodeId)>;

/// What several faults do to one network at the same time.
#[derive(Default)]
struct Network {
    /// The links that each fault has cut.
    cut: BTreeMap<usize, Links>,
    bad: BTreeMap<usize, LinkFaults>,
}

impl Sim {
    /// Carries out the plan's faults; returns when the last one has ended. What scenarios do by themselves may go on beside it.
    pub async fn disturb(&self) {
        let network = RefCell::new(Network::default());
        let faults = &self.plan().faults;
        join_all(faults.iter().enumerate().map(|(nth, planned)| self.befall(nth, planned, &network))).await;
    }

    async fn befall(&self, nth: usize, planned: &Planned, network: &RefCell<Network>) {
        let begin = Duration::from_millis(planned.at).saturating_sub(self.now());
        self.sleep(begin).await;
        let Some(target) = self.find(planned.target) else { return };
        let everybody =
            matches!(planned.kind, Kind::CrashAll | Kind::Halves | Kind::Ring | Kind::BadNetwork | Kind::SlowNetwork);
        let targets: &[NodeId] = if everybody { &[] } else { &[target] };
        self.note(format_args!("== {} {target}, for {} ms ({})", planned.kind, planned.lasts, planned.amount));
        let window = self.world().tally.fault_begins(&planned.kind.to_string(), targets);
        self.befall_target(nth, planned, target, network).await;
        self.world().tally.fault_ends(window);
    }

    async fn befall_target(&self, nth: usize, planned: &Planned, target: NodeId, network: &RefCell<Network>) {
        let Planned { kind, amount, .. } = planned;
        let lasts = || self.sleep(Duration::from_millis(planned.lasts));
        let style = |amount: u64| if amount.is_multiple_of(2) { CrashStyle::Prefix } else { CrashStyle::Scattered };
        match kind {
            Kind::Crash => {
                self.crash(target, style(*amount), *amount);
                lasts().await;
                self.boot(target).await;
            }
            Kind::CrashAll => {
                let nodes = self.nodes();
                nodes.iter().for_each(|node| {
                    self.crash(*node, style(*amount), amount + node.0);
                });
                lasts().await;
                for node in nodes {
                    self.boot(node).await;
                }
            }
            Kind::Kill => {
                self.kill(target);
                lasts().await;
                self.boot(target).await;
            }
            Kind::Pause => {
                self.pause(target);
                lasts().await;
                self.resume(target);
            }
            Kind::BadNetwork | Kind::SlowNetwork => {
                network.borrow_mut().bad.insert(nth, badness(kind, *amount));
                self.apply(&network.borrow());
                lasts().await;
                network.borrow_mut().bad.remove(&nth);
                self.apply(&network.borrow());
            }
            Kind::SlowDisk => {
                self.with_machine(target, |machine| machine.slowness.store(*amount, Ordering::Relaxed));
                lasts().await;
                self.with_machine(target, |machine| machine.slowness.store(0, Ordering::Relaxed));
            }
            Kind::FailDisk => {
                self.with_machine(target, |machine| machine.excused.store(true, Ordering::Relaxed));
                if let Some(life) = self.life(target) {
                    life.disk_faults().add(Rule::new(Fault::Io).on([Operation::Sync, Operation::SyncDir]));
                    self.observer().excuse(target);
                }
                lasts().await;
                self.crash(target, style(*amount), *amount);
                self.with_machine(target, |machine| machine.excused.store(false, Ordering::Relaxed));
                self.boot(target).await;
            }
            Kind::FullDisk => {
                self.with_machine(target, |machine| {
                    machine.excused.store(true, Ordering::Relaxed);
                    machine.disk.set_capacity(Some(*amount));
                });
                lasts().await;
                self.with_machine(target, |machine| {
                    machine.disk.set_capacity(None);
                    machine.excused.store(false, Ordering::Relaxed);
                });
                self.boot(target).await;
            }
            Kind::ClockAhead | Kind::ClockBehind => {
                let by = i64::try_from(*amount).unwrap_or(i64::MAX);
                let by = if *kind == Kind::ClockAhead { by } else { -by };
                self.shift_wall(target, by);
                lasts().await;
                self.shift_wall(target, -by);
            }
            Kind::Act(name) => {
                if let Some(program) = self.program() {
                    program.act(self, name, target, *amount).await;
                }
            }
            _ => {
                network.borrow_mut().cut.insert(nth, self.links(planned, target));
                self.apply(&network.borrow());
                lasts().await;
                network.borrow_mut().cut.remove(&nth);
                self.apply(&network.borrow());
            }
        }
    }

    /// The node that is meant at this moment.
    fn find(&self, target: Target) -> Option<NodeId> {
        let nodes = self.nodes();
        let leader = self.observer().any_leader().filter(|leader| nodes.contains(leader));
        match target {
            Target::Node(number) => nodes.iter().copied().find(|node| node.0 == number),
            Target::Leader => leader.or(nodes.first().copied()),
            Target::Follower(nth) => {
                let others: Vec<_> = nodes.into_iter().filter(|node| Some(*node) != leader).collect();
                others.get(usize::try_from(nth).ok()?.checked_rem(others.len())?).copied()
            }
        }
    }

    /// The links that a fault cuts.
    fn links(&self, planned: &Planned, target: NodeId) -> Links {
        let nodes = self.nodes();
        let amount = planned.amount;
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        let pairs = pairs.filter(|(from, to)| from != to);
        let side = |node: NodeId| amount >> (node.0 % 20) & 1;
        let place = |node: NodeId| nodes.iter().position(|other| *other == node).unwrap_or(0);
        let others: Vec<_> = nodes.iter().filter(|node| **node != target).collect();
        let chosen = others.get((amount as usize).checked_rem(others.len()).unwrap_or(0)).copied();
        let is_cut = |from: NodeId, to: NodeId| match planned.kind {
            Kind::Isolate => from == target || to == target,
            Kind::CutOut => from == target,
            Kind::CutIn => to == target,
            Kind::CutOne => from == target && Some(&to) == chosen,
            Kind::Halves => side(from) != side(to),
            Kind::Bridge => side(from) != side(to) && from != target && to != target,
            Kind::Ring => {
                let apart = place(from).abs_diff(place(to));
                apart > 1 && apart + 1 < nodes.len()
            }
            _ => false,
        };
        pairs.filter(|(from, to)| is_cut(*from, *to)).collect()
    }

    /// Makes the network what all the faults that last make of it.
    fn apply(&self, network: &Network) {
        self.network().heal_all();
        for (from, to) in network.cut.values().flatten() {
            self.network().cut(Link::one(*from, *to));
        }
        self.usual_network();
        if let Some(bad) = network.bad.values().last() {
            self.network().set_faults(Link::ALL, *bad);
        }
    }
}

fn badness(kind: &Kind, amount: u64) -> LinkFaults {
    let share = amount as f64 / 100.0;
    if *kind == Kind::SlowNetwork {
        return LinkFaults::delayed(Duration::from_micros(50), Duration::from_millis(amount));
    }
    LinkFaults {
        delay_min: Duration::from_micros(50),
        delay_max: Duration::from_millis(amount),
        drop_requests: share / 2.0,
        drop_replies: share / 2.0,
        duplicate: share,
        reorder: true,
    }
}
