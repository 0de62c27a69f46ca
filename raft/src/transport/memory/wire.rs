//! One directed link at work: a flag that says whether anything can go wrong, and the queue for when it can.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::select;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;

use super::link::LinkFaults;
use super::node::{Node, Power};
use super::parcel::{Parcel, Slot};
use crate::env::{BoxFuture, Env, Moment};
use crate::transport::Answer;

/// How a link was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Messages vanish.
    Silent,
    /// The sender is told.
    Refusing,
}

/// All that a test can change about a link.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Condition {
    pub(super) faults: LinkFaults,
    pub(super) cut: Option<Cut>,
    pub(super) sender: Power,
    pub(super) receiver: Power,
}

impl Condition {
    fn is_clean(&self) -> bool {
        let running = self.sender == Power::Running && self.receiver == Power::Running;
        running && self.cut.is_none() && self.faults.is_none()
    }
}

/// The sender is told that its message was certainly not delivered.
#[derive(Debug)]
pub(super) struct Refused;

/// One directed link.
///
/// While `clean`, messages do not come here: nothing is queued, nobody pumps, and nothing can go wrong.
pub(super) struct Wire {
    env: Arc<dyn Env>,
    to: Arc<Node>,
    clean: AtomicBool,
    state: Mutex<State>,
    /// Wakes the pump when the queue or the condition has changed.
    changed: Notify,
}

struct State {
    condition: Condition,
    random: SmallRng,
    /// By the moment of arrival, then by the order of sending.
    queue: BTreeMap<(Moment, u64), Queued>,
    sent: u64,
    pumping: bool,
}

struct Queued {
    parcel: Box<Parcel>,
    /// Its sender was paused: it has not left yet.
    unsent: bool,
}

/// What the pump does next.
enum Step {
    Deliver(Box<Parcel>),
    Sleep(Duration),
    AwaitChange,
    Stop,
}

impl Wire {
    pub(super) fn new(env: Arc<dyn Env>, to: Arc<Node>, seed: u64, condition: Condition) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        let state = State { condition, random, queue: BTreeMap::new(), sent: 0, pumping: false };
        let clean = AtomicBool::new(condition.is_clean());
        Wire { env, to, clean, state: Mutex::new(state), changed: Notify::new() }
    }

    /// Whether a message may be handed over directly: nothing can go wrong and nothing sent earlier is on its way.
    pub(super) fn is_clean(&self) -> bool {
        self.clean.load(Ordering::Acquire)
    }

    pub(super) fn receiver(&self) -> &Node {
        &self.to
    }

    /// Makes `condition` the link's. What cannot arrive any more is dropped.
    pub(super) fn set_condition(&self, condition: Condition) {
        let mut state = self.lock();
        state.condition = condition;
        if condition.receiver == Power::Stopped {
            state.queue.clear();
        }
        if condition.sender == Power::Stopped {
            state.drop_unsent();
        }
        self.settle(&state);
        self.changed.notify_one();
    }

    /// Drops all that is on its way.
    pub(super) fn discard(&self) {
        self.lock().queue.clear();
        self.changed.notify_one();
    }

    /// Drops what has not left its paused sender.
    pub(super) fn discard_unsent(&self) {
        self.lock().drop_unsent();
        self.changed.notify_one();
    }

    /// Gives a message to the link, which decides its fate.
    pub(super) fn send(self: &Arc<Self>, parcel: Parcel) -> Result<(), Refused> {
        let mut state = self.lock();
        let condition = state.condition;
        if condition.cut == Some(Cut::Refusing) || [condition.sender, condition.receiver].contains(&Power::Stopped) {
            return Err(Refused);
        }
        if self.to.inbound().is_none() && matches!(parcel, Parcel::Request { .. }) {
            return Err(Refused);
        }
        state.take(self.env.now(), parcel);
        let start = !state.pumping && !state.queue.is_empty();
        state.pumping |= start;
        self.settle(&state);
        drop(state);
        if start {
            self.env.spawn(Box::pin(Arc::clone(self).pump()));
        } else {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Delivers what is queued until nothing is left.
    async fn pump(self: Arc<Self>) {
        loop {
            match self.next() {
                Step::Deliver(parcel) => self.deliver(*parcel).await,
                Step::Sleep(left) => {
                    select(self.env.sleep(left), std::pin::pin!(self.changed.notified())).await;
                }
                Step::AwaitChange => self.changed.notified().await,
                Step::Stop => return,
            }
        }
    }

    fn next(&self) -> Step {
        let mut state = self.lock();
        while let Some(first) = state.queue.first_entry() {
            let (due, _) = *first.key();
            let unsent = first.get().unsent;
            let left = due.since(self.env.now());
            let Condition { cut, sender, receiver, .. } = state.condition;
            if receiver == Power::Paused || (unsent && sender == Power::Paused) {
                return Step::AwaitChange;
            }
            if !left.is_zero() {
                return Step::Sleep(left);
            }
            let Some((_, queued)) = state.queue.pop_first() else { break };
            if cut.is_none() {
                return Step::Deliver(queued.parcel);
            }
        }
        state.pumping = false;
        self.settle(&state);
        Step::Stop
    }

    /// Hands a message over; what the receiver does not finish at once goes on as a task, so that the next message
    /// need not wait for it.
    async fn deliver(&self, parcel: Parcel) {
        let (envelope, back, slot) = match parcel {
            Parcel::Request { envelope, back, slot } => (envelope, back, slot),
            Parcel::Reply { answer, slot } => return slot.fill(answer),
        };
        let to = Arc::clone(&self.to);
        let life = to.life();
        let Some(inbound) = to.inbound() else { return };
        let mut handling: BoxFuture<()> = Box::pin(async move {
            if let Some(answer) = inbound.deliver(envelope).await
                && to.life() == life
            {
                back.send_back(answer, slot);
            }
        });
        if futures::poll!(&mut handling).is_pending() {
            self.env.spawn(handling);
        }
    }

    fn send_back(self: &Arc<Self>, answer: Answer, slot: Slot) {
        if self.is_clean() {
            slot.fill(answer);
        } else {
            // A refused answer is a lost one.
            let _ = self.send(Parcel::Reply { answer, slot });
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: &State) {
        let idle = state.queue.is_empty() && !state.pumping;
        self.clean.store(idle && state.condition.is_clean(), Ordering::Release);
    }
}

impl State {
    /// Draws a message's fate and queues what is left of it.
    fn take(&mut self, now: Moment, parcel: Parcel) {
        // Always the same number of draws: a changed probability must not shift the fates of other messages.
        let [lost, twice, delay, second_delay] = std::array::from_fn(|_| self.random.next_u64());
        let Condition { faults, cut, sender, .. } = self.condition;
        let parcel = Box::new(parcel);
        let request = matches!(*parcel, Parcel::Request { .. });
        let drop = if request { faults.drop_requests } else { faults.drop_replies };
        if cut.is_some() || happens(lost, drop) {
            return;
        }
        let unsent = sender == Power::Paused;
        let second = (request && happens(twice, faults.duplicate)).then(|| parcel.clone());
        self.enqueue(now + delay_of(delay, &faults), Queued { parcel, unsent });
        if let Some(parcel) = second {
            let delay = if faults.reorder { delay_of(second_delay, &faults) } else { Duration::ZERO };
            self.enqueue(now + delay, Queued { parcel, unsent });
        }
    }

    fn drop_unsent(&mut self) {
        self.queue.retain(|_, queued| !queued.unsent);
    }

    fn enqueue(&mut self, due: Moment, queued: Queued) {
        let not_before = match self.queue.last_key_value() {
            Some(((last, _), _)) if !self.condition.faults.reorder => *last,
            _ => due,
        };
        self.sent += 1;
        self.queue.insert((due.max(not_before), self.sent), queued);
    }
}

fn happens(draw: u64, probability: f64) -> bool {
    ((draw >> 11) as f64) < probability * (1u64 << 53) as f64
}

fn delay_of(draw: u64, faults: &LinkFaults) -> Duration {
    let width = faults.delay_max.saturating_sub(faults.delay_min).as_nanos() + 1;
    let nanos = (u128::from(draw) * width) >> 64;
    faults.delay_min + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
