//! Does things to nodes, one after the other, and undoes them.
//!
//! Promises: when it has ended every node runs and every link is whole; what it does is decided by a seed, when it happens
//! is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_nodes::server::Client;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::admin::{Admin, CONTROLLER, GROUPS, replace, until};
use crate::clients::Directory;
use crate::faults::{Fault, Target};
use crate::links::Direction;
use crate::nodes::Nodes;
use crate::recorder::{Recorder, Window};
use crate::screen::Screen;

/// A clock is wrong by up to an hour.
const CLOCK_OFFSET_MS_MAX: i64 = 3_600_000;

/// How long a node may take to end whose disk fails.
const ENDS_OF_ITS_DISK: Duration = Duration::from_secs(30);

/// How often nodes are looked after while a fault lasts.
const LOOK: Duration = Duration::from_millis(20);

/// What to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The kinds, each of which has its turn before any has a second one.
    pub(crate) faults: Vec<Fault>,
    /// Whom they befall.
    pub(crate) targets: Vec<Target>,
    /// How long a fault lasts, and how long it is quiet then, on average.
    pub(crate) interval: Duration,
    /// How many turns each kind has; without it, as many as there is time for.
    pub(crate) rounds: Option<u64>,
    /// What its choices follow from.
    pub(crate) seed: u64,
}

/// Does faults to a cluster.
pub(crate) struct Nemesis {
    pub(super) nodes: Nodes,
    pub(super) plan: Plan,
    pub(super) recorder: Recorder,
    directory: Directory,
    pub(super) screen: Screen,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) rng: SmallRng,
    /// The number of the next new node.
    next: u64,
}

/// A fault that lasts, and its window.
pub(super) struct Struck {
    fault: Fault,
    victims: Vec<u64>,
    window: Window,
}

impl Nemesis {
    /// One for these nodes.
    pub(crate) fn new(
        nodes: Nodes,
        plan: Plan,
        recorder: Recorder,
        directory: Directory,
        screen: Screen,
        stop: Arc<AtomicBool>,
    ) -> Nemesis {
        let next = nodes.ids().last().map_or(1, |last| last + 1);
        let rng = SmallRng::seed_from_u64(plan.seed);
        Nemesis { nodes, plan, recorder, directory, screen, stop, rng, next }
    }

    /// Does one fault after the other until told to stop, or all have had their turns; gives the nodes back, all running.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub(crate) async fn run(mut self) -> anyhow::Result<Nodes> {
        let (mut left, mut rounds) = (Vec::new(), 0);
        loop {
            self.wait().await?;
            if left.is_empty() {
                if self.plan.rounds == Some(rounds) {
                    return Ok(self.nodes);
                }
                rounds += 1;
                left.clone_from(&self.plan.faults);
                left.shuffle(&mut self.rng);
            }
            if self.is_over() {
                return Ok(self.nodes);
            }
            if let Some(fault) = left.pop() {
                self.attack(fault).await?;
            }
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for about an interval, or until there is no time left, and looks after the nodes meanwhile.
    pub(super) async fn wait(&mut self) -> anyhow::Result<()> {
        let long = self.plan.interval.mul_f64(self.rng.random_range(0.5..1.5));
        let until = self.recorder.now() + long;
        while self.recorder.now() < until && !self.is_over() {
            tokio::time::sleep(LOOK).await;
            self.nodes.attend()?;
        }
        Ok(())
    }

    pub(super) fn admin(&self) -> anyhow::Result<Admin> {
        Admin::new(&self.nodes.clients())
    }

    fn any(&mut self) -> u64 {
        self.nodes.ids().choose(&mut self.rng).copied().unwrap_or(1)
    }

    /// Those that a fault is to befall.
    async fn victims(&mut self) -> anyhow::Result<Vec<u64>> {
        let mut ids = self.nodes.ids();
        ids.shuffle(&mut self.rng);
        let target = self.plan.targets.choose(&mut self.rng).copied().unwrap_or(Target::One);
        let count = match target {
            Target::One => 1,
            Target::Half => ids.len().div_ceil(2).min(ids.len().saturating_sub(1)).max(1),
            Target::All => ids.len(),
            Target::Leader => {
                let groups = [GROUPS[0], GROUPS[1], CONTROLLER];
                let group = groups.choose(&mut self.rng).copied().unwrap_or(CONTROLLER);
                // Where nobody leads, it hits anyone.
                return Ok(vec![self.admin()?.leader(group).await.unwrap_or(ids[0])]);
            }
        };
        ids.truncate(count);
        Ok(ids)
    }

    async fn attack(&mut self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill | Fault::Pause | Fault::Cut => {
                let victims = self.victims().await?;
                let struck = self.strike(fault, victims).await;
                self.wait().await?;
                self.undo(struck).await
            }
            Fault::Clock => self.set_clock().await,
            Fault::Roll => self.roll().await,
            Fault::Replace => self.replace().await,
            Fault::Disk => self.break_disk().await,
            Fault::Moves => self.moves().await,
        }
    }

    /// A kill, a pause or a cut begins.
    pub(super) async fn strike(&mut self, fault: Fault, victims: Vec<u64>) -> Struck {
        let window = self.begin(fault, &victims);
        match fault {
            Fault::Kill => self.nodes.kill(&victims).await,
            Fault::Pause => victims.iter().for_each(|id| self.nodes.pause(*id)),
            _ => {
                let cut = self.directions(&victims);
                self.nodes.links.cut(cut);
            }
        }
        Struck { fault, victims, window }
    }

    /// It is over.
    pub(super) async fn undo(&mut self, struck: Struck) -> anyhow::Result<()> {
        let Struck { fault, victims, window } = struck;
        match fault {
            Fault::Kill => victims.iter().try_for_each(|id| self.nodes.start(*id))?,
            Fault::Pause => victims.iter().for_each(|id| self.nodes.resume(*id)),
            _ => self.nodes.links.cut(BTreeSet::new()),
        }
        self.recorder.end(window);
        Ok(())
    }

    pub(super) fn begin(&self, fault: Fault, victims: &[u64]) -> Window {
        self.note(fault, victims.iter().map(|id| format!("n{id}")).collect())
    }

    pub(super) fn note(&self, fault: Fault, targets: Vec<String>) -> Window {
        self.screen.say(&format!("{:>7.2?}  {fault} {}", self.recorder.now(), targets.join(",")));
        self.recorder.begin(&fault.to_string(), targets)
    }

    /// What is held back when these are cut off from the others, or each from each if they are all.
    fn directions(&mut self, aside: &[u64]) -> BTreeSet<Direction> {
        let ids = self.nodes.ids();
        let ways = self.rng.random_range(0..4);
        let mut cut = BTreeSet::new();
        for one in aside {
            let others = ids.iter().filter(|id| *id != one && (aside.len() == ids.len() || !aside.contains(id)));
            for other in others {
                // Both ways as a rule; else they are not heard, or hear nothing.
                cut.extend((ways != 0).then_some((*one, *other)));
                cut.extend((ways != 1).then_some((*other, *one)));
            }
        }
        cut
    }

    /// A node comes back with a wrong clock, and leads whatever it can.
    async fn set_clock(&mut self) -> anyhow::Result<()> {
        let victim = self.any();
        let offset = self.rng.random_range(-CLOCK_OFFSET_MS_MAX..CLOCK_OFFSET_MS_MAX);
        let window = self.begin(Fault::Clock, &[victim]);
        self.nodes.set_clock(victim, offset);
        self.nodes.terminate(victim).await;
        self.nodes.start(victim)?;
        self.serves(victim).await?;
        self.admin()?.transfer_all(victim).await;
        self.wait().await?;
        self.nodes.set_clock(victim, 0);
        self.nodes.restart(victim).await?;
        self.recorder.end(window);
        Ok(())
    }

    /// Ends and starts every node, each once the one before serves again.
    async fn roll(&mut self) -> anyhow::Result<()> {
        let ids = self.nodes.ids();
        let window = self.begin(Fault::Roll, &ids);
        for id in ids {
            if self.is_over() {
                break;
            }
            self.nodes.terminate(id).await;
            self.nodes.start(id)?;
            self.serves(id).await?;
        }
        self.recorder.end(window);
        Ok(())
    }

    /// Waits until a node answers for keys. That it takes too long is noted.
    async fn serves(&mut self, id: u64) -> anyhow::Result<()> {
        let Some(address) = self.nodes.clients().remove(&id) else { return Ok(()) };
        let client = Client::new([address])?;
        let served = until(async || Ok(Some(client.get("k0", None, Duration::from_secs(1)).await?)));
        if let Err(error) = served.await {
            self.nodes.wrongs.push(format!("n{id} was started and does not serve: {error:#}"));
        }
        Ok(())
    }

    async fn replace(&mut self) -> anyhow::Result<()> {
        let (old, new) = (self.any(), self.next);
        self.next += 1;
        let window = self.note(Fault::Replace, vec![format!("n{old}"), format!("n{new}")]);
        self.nodes.kill(&[old]).await;
        replace(&mut self.nodes, old, new).await?;
        self.directory.set(self.nodes.clients());
        self.recorder.end(window);
        Ok(())
    }

    /// A node can write no more. It is to end by itself, since there is something to write; it comes back with a disk that works.
    async fn break_disk(&mut self) -> anyhow::Result<()> {
        let victim = self.any();
        let window = self.begin(Fault::Disk, &[victim]);
        self.nodes.break_disk(victim);
        let until = self.recorder.now() + ENDS_OF_ITS_DISK;
        while self.nodes.ended(victim).is_none() {
            if self.recorder.now() > until {
                self.nodes.wrongs.push(format!("n{victim} goes on though its disk fails"));
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.nodes.restart(victim).await?;
        self.recorder.end(window);
        Ok(())
    }
}
