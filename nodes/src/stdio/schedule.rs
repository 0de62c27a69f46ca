//! Which requests may start: a pure machine over tickets; it knows neither time nor messages.
//!
//! Promises:
//! - a barrier starts when everything above it has been answered, and what follows starts when it has been answered;
//! - data of one client to one node starts in input order, one at a time;
//! - data starts when everything above it that conflicts with its footprint has been answered;
//! - a fault starts when the data above it has started, the `init` above it has been answered, and so has every fault
//!   above it; a barrier that waits does not hold it back. What follows it starts when it has been answered.
//!
//! Each step costs the logarithm of what is in flight.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::lanes::{Lane, Mode, Ticket};
use super::service::{Access, Footprint};
use super::window::Route;

/// How a request takes its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A barrier that faults wait for: before it there is nothing to break.
    Init,
    /// See [`super::service::Order::Barrier`].
    Barrier,
    /// See [`super::service::Order::Data`].
    Data(Footprint),
    /// Acts in the middle of what stands above it.
    Fault,
}

#[derive(Debug)]
struct Item {
    route: Route,
    turn: Turn,
    stage: Stage,
    /// The fault before which it stands; see [`Schedule::segments`].
    segment: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Behind a barrier or a fault.
    Held,
    /// In its lanes; the number of those in which it waits.
    Blocked(usize),
    Started,
}

/// Everything that has been read and not yet answered.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    next_ticket: u64,
    items: HashMap<Ticket, Item>,
    /// In input order, what is not in its lanes yet. Those answered meanwhile are passed over.
    backlog: VecDeque<Ticket>,
    /// Data in its lanes.
    in_lanes: usize,
    clients: HashMap<Route, Lane>,
    keys: HashMap<Arc<str>, Lane>,
    all_keys: Lane,
    barrier: Option<Ticket>,
    barriers: BTreeSet<Ticket>,
    /// Faults in input order, up to the last one not answered.
    faults: VecDeque<Ticket>,
    /// How many requests keep each fault waiting that no earlier fault waits for; then the same for the next fault to
    /// come. So always one longer than `faults`.
    segments: VecDeque<usize>,
    first_segment: u64,
    ready: VecDeque<Ticket>,
}

impl Schedule {
    pub(crate) fn new() -> Self {
        Schedule { segments: VecDeque::from([0]), ..Schedule::default() }
    }

    /// Adds the next request of the input.
    pub(crate) fn add(&mut self, route: Route, turn: Turn) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let segment = self.first_segment + self.faults.len() as u64;
        match turn {
            Turn::Init => {
                self.barriers.insert(ticket);
                *self.segment(segment) += 1;
            }
            Turn::Barrier => _ = self.barriers.insert(ticket),
            Turn::Data(_) => *self.segment(segment) += 1,
            Turn::Fault => {
                self.faults.push_back(ticket);
                self.segments.push_back(0);
            }
        }
        self.items.insert(ticket, Item { route, turn, stage: Stage::Held, segment });
        self.backlog.push_back(ticket);
        self.advance();
        ticket
    }

    /// The next request to start; it counts as started from now on.
    pub(crate) fn next(&mut self) -> Option<Ticket> {
        self.ready.pop_front()
    }

    /// Whether the request has started.
    pub(crate) fn has_started(&self, ticket: Ticket) -> bool {
        self.items.get(&ticket).is_some_and(|item| item.stage == Stage::Started)
    }

    /// Whether a barrier above the request has not been answered.
    pub(crate) fn is_below_barrier(&self, ticket: Ticket) -> bool {
        self.barriers.first().is_some_and(|first| *first < ticket)
    }

    /// The request has been answered, whether it had started or not.
    pub(crate) fn answered(&mut self, ticket: Ticket) {
        let Some(item) = self.items.remove(&ticket) else { return };
        match item.turn {
            Turn::Init | Turn::Barrier => {
                self.barriers.remove(&ticket);
                if self.barrier == Some(ticket) {
                    self.barrier = None;
                }
                if item.turn == Turn::Init {
                    *self.segment(item.segment) -= 1;
                }
            }
            Turn::Data(footprint) => {
                if item.stage != Stage::Started {
                    *self.segment(item.segment) -= 1;
                }
                if item.stage != Stage::Held {
                    self.leave_lanes(ticket, &item.route, &footprint);
                }
            }
            Turn::Fault => {}
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(ticket) = self.backlog.front().copied() {
            let Some(item) = self.items.get(&ticket) else {
                self.backlog.pop_front();
                continue;
            };
            if self.barrier.is_some() {
                break;
            }
            match item.turn {
                Turn::Fault => break,
                Turn::Init | Turn::Barrier if self.in_lanes > 0 => break,
                Turn::Init | Turn::Barrier => {
                    self.barrier = Some(ticket);
                    self.start(ticket);
                }
                Turn::Data(_) => self.enter_lanes(ticket),
            }
            self.backlog.pop_front();
        }
        self.advance_faults();
    }

    fn advance_faults(&mut self) {
        while let Some(ticket) = self.faults.front().copied() {
            match self.items.get(&ticket) {
                None => {
                    // Given up or answered: what it waited for now keeps the next one waiting.
                    self.faults.pop_front();
                    let left = self.segments.pop_front().unwrap_or(0);
                    self.first_segment += 1;
                    self.segments[0] += left;
                }
                Some(item) => {
                    if item.stage == Stage::Held && self.segments[0] == 0 {
                        self.start(ticket);
                    }
                    break;
                }
            }
        }
    }

    fn segment(&mut self, segment: u64) -> &mut usize {
        let at = segment.saturating_sub(self.first_segment) as usize;
        &mut self.segments[at]
    }

    fn start(&mut self, ticket: Ticket) {
        if let Some(item) = self.items.get_mut(&ticket) {
            item.stage = Stage::Started;
            let segment = item.segment;
            if matches!(item.turn, Turn::Data(_)) {
                *self.segment(segment) -= 1;
            }
            self.ready.push_back(ticket);
        }
    }

    fn enter_lanes(&mut self, ticket: Ticket) {
        let Some(Item { route, turn: Turn::Data(footprint), stage, .. }) = self.items.get_mut(&ticket) else { return };
        let mut blocked = 0;
        let mut enter = |lane: &mut Lane, mode| blocked += usize::from(!lane.enter(ticket, mode));
        enter(self.clients.entry(route.clone()).or_default(), Mode::Write);
        for (key, mode) in key_modes(footprint) {
            enter(self.keys.entry(key.clone()).or_default(), mode);
        }
        if let Some(mode) = all_keys_mode(footprint) {
            enter(&mut self.all_keys, mode);
        }
        *stage = Stage::Blocked(blocked);
        self.in_lanes += 1;
        if blocked == 0 {
            self.start(ticket);
        }
    }

    fn leave_lanes(&mut self, ticket: Ticket, route: &Route, footprint: &Footprint) {
        self.in_lanes -= 1;
        let mut freed = Vec::new();
        if let Some(lane) = self.clients.get_mut(route) {
            lane.leave(ticket, Mode::Write, &mut freed);
            if lane.is_empty() {
                self.clients.remove(route);
            }
        }
        for (key, mode) in key_modes(footprint) {
            if let Some(lane) = self.keys.get_mut(key) {
                lane.leave(ticket, mode, &mut freed);
                if lane.is_empty() {
                    self.keys.remove(key);
                }
            }
        }
        if let Some(mode) = all_keys_mode(footprint) {
            self.all_keys.leave(ticket, mode, &mut freed);
        }
        for ticket in freed {
            let Some(Item { stage: Stage::Blocked(blocked), .. }) = self.items.get_mut(&ticket) else { continue };
            *blocked -= 1;
            if *blocked == 0 {
                self.start(ticket);
            }
        }
    }
}

fn key_modes(footprint: &Footprint) -> impl Iterator<Item = (&Arc<str>, Mode)> {
    let only_read = footprint.reads.difference(&footprint.writes);
    only_read.map(|key| (key, Mode::Read)).chain(footprint.writes.iter().map(|key| (key, Mode::Write)))
}

/// Also those that name single keys pass through the lane of all keys, to meet those that touch everything.
fn all_keys_mode(footprint: &Footprint) -> Option<Mode> {
    match footprint.everything {
        Some(Access::Write) => Some(Mode::Write),
        Some(Access::Read) if footprint.writes.is_empty() => Some(Mode::Read),
        Some(Access::Read) => Some(Mode::Write),
        None if !footprint.writes.is_empty() => Some(Mode::WritePart),
        None if !footprint.reads.is_empty() => Some(Mode::ReadPart),
        None => None,
    }
}
