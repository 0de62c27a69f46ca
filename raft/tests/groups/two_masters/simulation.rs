//! Everything at once, at random: crashes of both in every order, partitions also one way, lost answers, slow flushes,
//! transfers, takeovers asked of either node at any moment and cut off at any step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate::transport::{Link, LinkFaults};
use quorate::{Consistency, GroupOptions, NodeId};

use super::disk::Trap;
use super::pair::{A, B, MS, Pair, other};
use crate::common::{World, in_virtual_time};

/// Rounds of one run; `QUORATE_ROUNDS` sets another number.
const ROUNDS: u64 = 8;

/// Disturbances in one round, after which all is well again.
const DISTURBANCES: u64 = 8;

#[test]
fn whatever_goes_wrong_at_most_one_goes_on_alone_and_nothing_acknowledged_is_lost() {
    in_virtual_time(simulate);
}

async fn simulate(world: World) {
    let rounds = std::env::var("QUORATE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let (mut written, mut looked, mut epochs, mut alone) = (0, 0, 0, 0);
    for round in 0..rounds {
        // Some rounds with snapshots that replace the log in which the claims stood.
        let snapshot_log_bytes = world.pick(&[2_000, 16 << 20]);
        let options = GroupOptions { snapshot_log_bytes, snapshot_keep_entries: 4, ..Pair::options() };
        let simulation = Arc::new(Simulation::new(Pair::start(&world.fork(), options).await));
        simulation.run(round * 1_000_000).await;
        let counts = simulation.pair.record.counts();
        (written, looked, epochs) = (written + counts.0, looked + counts.1, epochs + counts.2);
        alone += simulation.alone.load(Ordering::Relaxed);
        for id in [A, B] {
            simulation.pair.crash(id);
        }
    }
    eprintln!("{written} writes and {looked} looks in {epochs} epochs; {alone} times one went on alone");
    assert!(written as u64 > 10 * rounds && looked > 10 * rounds, "hardly anything was acknowledged");
    assert!(rounds < ROUNDS || alone > 0, "nobody ever went on alone");
}

struct Simulation {
    pair: Arc<Pair>,
    world: World,
    next_value: AtomicU64,
    alone: AtomicU64,
    over: AtomicBool,
}

impl Simulation {
    fn new(pair: Arc<Pair>) -> Self {
        let world = pair.world.fork();
        Simulation {
            pair,
            world,
            next_value: AtomicU64::new(1),
            alone: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    async fn run(self: &Arc<Self>, first_value: u64) {
        self.next_value.fetch_add(first_value, Ordering::Relaxed);
        let mut clients = Vec::new();
        for id in [A, A, B, B] {
            clients.push(tokio::spawn(Arc::clone(self).keep_writing(id)));
            clients.push(tokio::spawn(Arc::clone(self).keep_looking(id)));
        }
        for _ in 0..DISTURBANCES {
            self.disturb().await;
            if self.world.below(2) == 0 {
                self.pair.calm().await;
            }
            self.sleep_ms(600).await;
        }
        self.over.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        self.pair.converge().await;
    }

    async fn sleep_ms(&self, at_most: u64) {
        self.world.sleep(MS * self.world.below(at_most + 1) as u32).await;
    }

    async fn keep_writing(self: Arc<Self>, id: NodeId) {
        let world = self.world.fork();
        while !self.over.load(Ordering::Relaxed) {
            let value = self.next_value.fetch_add(1, Ordering::Relaxed);
            self.pair.put(id, value, 400 * MS).await;
            world.sleep(MS * world.below(20) as u32).await;
        }
    }

    async fn keep_looking(self: Arc<Self>, id: NodeId) {
        let world = self.world.fork();
        while !self.over.load(Ordering::Relaxed) {
            let consistency =
                world.pick(&[Consistency::Lease, Consistency::Linearizable, Consistency::LinearizableHere]);
            self.pair.look(id, consistency, MS * world.pick(&[1, 200])).await;
            world.sleep(MS * world.below(10) as u32).await;
        }
    }

    async fn disturb(&self) {
        let (pair, network) = (&self.pair, &self.pair.network);
        let id = self.world.pick(&[A, B]);
        match self.world.below(13) {
            0 => pair.crash(id),
            1 => self.restart_both().await,
            2 => network.isolate(id),
            3 => network.cut(Link::one(id, other(id))),
            4 => self.lose_answers(),
            5 => pair.disk(id).slow_down(MS * self.world.pick(&[20, 60, 200])),
            6 => {
                if let Some(group) = pair.life(id).and_then(|life| life.group()) {
                    // Arrived or not.
                    let _ = group.transfer_leadership(other(id), 500 * MS).await;
                }
            }
            7 => self.take_over(id).await,
            8 => drop(futures::future::join(self.take_over(A), self.take_over(B)).await),
            9 => self.cut_off(id).await,
            // What it sent and what it was sent arrives when it goes on.
            10 => network.pause(id),
            11 => self.power_cut_at_a_claim(id).await,
            _ => {
                network.isolate(id);
                self.sleep_ms(300).await;
                self.take_over(other(id)).await;
            }
        }
    }

    async fn take_over(&self, id: NodeId) {
        if let Ok(quorate::TakeOver::Alone(_)) = self.pair.take_over(id).await {
            self.alone.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Both crash, one a little after the other, and come back in either order; each may be asked to take over at once.
    async fn restart_both(&self) {
        let first = self.world.pick(&[A, B]);
        self.pair.crash(first);
        self.sleep_ms(300).await;
        self.pair.crash(other(first));
        for id in self.world.pick(&[[A, B], [B, A]]) {
            self.sleep_ms(300).await;
            if self.pair.life(id).is_none() {
                self.pair.start_node(id).await;
            }
            if self.world.below(2) == 0 {
                self.take_over(id).await;
            }
        }
    }

    /// `id` comes to lead, with a slow disk, and loses power while its claim is on its way; then both are asked.
    async fn power_cut_at_a_claim(&self, id: NodeId) {
        let pair = &self.pair;
        pair.calm().await;
        pair.disk(id).slow_down(200 * MS);
        if let Some(group) = pair.life(other(id)).and_then(|life| life.group()) {
            let _ = group.transfer_leadership(id, 500 * MS).await;
        }
        self.sleep_ms(400).await;
        pair.crash(id);
        pair.network.isolate(id);
        pair.disk(id).slow_down(2 * MS);
        pair.start_node(id).await;
        futures::future::join(self.take_over(A), self.take_over(B)).await;
    }

    /// Votes are asked for, given, and not heard of.
    fn lose_answers(&self) {
        let faults = LinkFaults {
            delay_max: 20 * MS,
            drop_requests: self.world.pick(&[0.0, 0.2]),
            drop_replies: self.world.pick(&[0.3, 0.8, 1.0]),
            duplicate: 0.2,
            reorder: true,
            ..LinkFaults::none()
        };
        let id = self.world.pick(&[A, B]);
        self.pair.network.set_faults(self.world.pick(&[Link::ALL, Link::one(id, other(id))]), faults);
    }

    /// A takeover that is cut off at one of its steps, or between them.
    async fn cut_off(&self, id: NodeId) {
        let trap = self.world.pick(&[Trap::BeforeVote, Trap::AfterVote, Trap::BeforeAppend, Trap::AfterAppend]);
        if self.world.below(3) > 0 {
            if let Some(life) = self.pair.life(id) {
                life.host.stop_group(super::pair::GROUP).await;
            }
            self.pair.disk(id).set(trap);
            self.take_over(id).await;
        } else {
            let patience = MS * self.world.below(500) as u32;
            let attempt = std::pin::pin!(self.take_over(id));
            futures::future::select(attempt, self.world.env.sleep(patience)).await;
        }
        self.pair.crash(id);
        if self.world.below(2) == 0 {
            self.sleep_ms(300).await;
            if self.pair.life(id).is_none() {
                self.pair.start_node(id).await;
            }
        }
    }
}
