//! The search for an order (Wing and Gong 1993, Lowe 2017).
//!
//! It goes through calls and returns by time. At a call the operation may be put next in the order, if the model allows
//! it; at the return of an operation that is not in the order the last choice was wrong and is taken back.
//! Read-only operations are no choice: one that fits the state now may come first in whatever order can follow, since
//! it leaves the state as it is and would change nothing later either. They are put in the order as soon as they fit.
//! An operation without a return need not be in the order, so it is only put there if something comes of it: not if it
//! leaves the state as it is, and not if what follows would have led to the same state without it. Of two that are
//! equal, what the later one can do the earlier one can, so it comes first.
//! What can lead nowhere is not followed (`outlook.rs`).

use std::collections::HashMap;

use super::configuration::{Configuration, Seen};
use super::events::{Event, EventId, Events};
use super::outlook::{self, Outlook};
use super::parallel::Stop;
use super::steps::{ClassId, Effects, StateId, Steps};
use super::{Exhausted, Model, Operation, Outcome};

/// How often to look at the clock, in turns of the search.
const TURNS_PER_LOOK: u32 = 4096;

/// How a search ended. Numbers are places among the operations given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An order of all operations that returned, and of some that did not.
    Order(Vec<usize>),
    /// There is none.
    Stuck { longest: Vec<usize>, stuck: usize, unplaced: Vec<usize> },
    /// A limit was reached.
    Exhausted(Exhausted),
}

/// How the search itself ended.
enum Ended {
    Order,
    Stuck,
    Exhausted(Exhausted),
}

/// An operation to be put in the order.
struct Task {
    /// Its place among the operations given.
    nth: usize,
    class: ClassId,
    call: EventId,
    kind: Kind,
}

enum Kind {
    /// It must be taken before the event; `bit` in the configuration stands for it.
    Returned { bit: usize, event: EventId, read_only: bool },
    /// It may be taken, after its equal that was called before it.
    Open { bit: usize, earlier_equal: Option<usize> },
}

/// A choice: which place in the order was filled, and where the search was before.
struct Choice {
    place: usize,
    state: StateId,
    outlook: Outlook,
    only_sets: bool,
}

/// In the memory, all states of which nothing shows which one it is.
const HIDDEN: StateId = StateId::MAX;

/// A search over the operations of one object.
pub(super) struct Search<'a, M: Model> {
    steps: Steps<'a, M>,
    tasks: Vec<Task>,
    events: Events,
    configuration: Configuration,
    returned: usize,
    seen: Seen,
    order: Vec<u32>,
    choices: Vec<Choice>,
    /// What the configuration can lead to; always [`Outlook::Open`] if that is not asked.
    outlook: Outlook,
    looks_ahead: bool,
    /// Whether only operations that set a state are tried for now.
    only_sets: bool,
    /// The tasks of the longest order that got stuck, with the number of returned ones, and where.
    longest: (usize, Vec<u32>, u32),
    /// Tasks of which the longest order with them is asked for, and that order so far.
    wanted: Vec<(u32, Vec<u32>)>,
}

impl<'a, M: Model> Search<'a, M> {
    /// Prepares a search. The operations may come in any order.
    pub(super) fn new(model: &'a M, operations: &[&'a Operation<M::Input, M::Output>]) -> Self {
        let mut steps = Steps::new(model);
        let mut tasks = Vec::new();
        let mut moments = Vec::new();
        let (mut returned, mut open) = (0, 0);
        let mut last_equal: HashMap<ClassId, usize> = HashMap::new();

        let mut by_call: Vec<(usize, _)> = operations.iter().copied().enumerate().collect();
        by_call.sort_by_key(|(_, operation)| operation.called);
        for (nth, operation) in by_call {
            let number = tasks.len() as u32;
            let (output, kind) = match &operation.outcome {
                Outcome::Failed => continue,
                Outcome::Open if model.is_read_only(&operation.input, None) => continue,
                Outcome::Open => (None, Kind::Open { bit: open, earlier_equal: None }),
                Outcome::Returned { output, at } => {
                    moments.push((*at, Event::Return(number)));
                    let read_only = model.is_read_only(&operation.input, Some(output));
                    (Some(output), Kind::Returned { bit: returned, event: 0, read_only })
                }
            };
            moments.push((operation.called, Event::Call(number)));
            let mut task = Task { nth, class: steps.class(&operation.input, output), call: 0, kind };
            match &mut task.kind {
                Kind::Returned { .. } => returned += 1,
                Kind::Open { bit, earlier_equal } => {
                    *earlier_equal = last_equal.insert(task.class, *bit);
                    open += 1;
                }
            }
            tasks.push(task);
        }

        moments.sort_by_key(|(position, _)| *position);
        for (id, (_, event)) in (1..).zip(&moments) {
            match *event {
                Event::Call(task) => tasks[task as usize].call = id,
                Event::Return(task) => {
                    if let Kind::Returned { event, .. } = &mut tasks[task as usize].kind {
                        *event = id;
                    }
                }
            }
        }
        // Where states do not grow, looking ahead costs more than it saves.
        let looks_ahead = tasks.iter().any(|task| steps.effect(task.class) == Effects::Grows);
        Search {
            steps,
            tasks,
            events: Events::new(moments.into_iter().map(|(_, event)| event).collect()),
            configuration: Configuration::new(returned, open),
            returned,
            seen: Seen::default(),
            order: Vec::new(),
            choices: Vec::new(),
            outlook: Outlook::Open,
            looks_ahead,
            only_sets: false,
            longest: (0, Vec::new(), 0),
            wanted: Vec::new(),
        }
    }

    /// Whether it looks ahead.
    pub(super) fn looks_ahead(&self) -> bool {
        self.looks_ahead
    }

    /// Does not look ahead: it takes longer, and comes as far as one can.
    pub(super) fn without_outlook(mut self) -> Self {
        self.looks_ahead = false;
        self
    }

    /// The longest order that has each of these operations, as far as the search comes; none for one that is in no
    /// order. It takes as long as the search that found that there is none.
    pub(super) fn longest_with(
        mut self,
        operations: &[usize],
        stop: Stop<'_>,
        configurations: usize,
    ) -> Vec<Vec<usize>> {
        let is_wanted = |task: &u32| operations.contains(&self.tasks[*task as usize].nth);
        self.wanted = (0..self.tasks.len() as u32).filter(is_wanted).map(|task| (task, Vec::new())).collect();
        // However it ends, the orders met on the way are orders.
        self.search(stop, configurations);
        self.wanted.iter().map(|(_, order)| self.places(order)).filter(|order| !order.is_empty()).collect()
    }

    /// Searches until an order is found, there is none, or a limit is reached.
    pub(super) fn run(mut self, stop: Stop<'_>, configurations: usize) -> Found {
        match self.search(stop, configurations) {
            Ended::Order => Found::Order(self.places(&self.order)),
            Ended::Stuck => self.stuck(),
            Ended::Exhausted(limit) => Found::Exhausted(limit),
        }
    }

    fn search(&mut self, stop: Stop<'_>, configurations: usize) -> Ended {
        let mut state = 0;
        self.take_reads(state);
        self.outlook = self.look(state);
        if let Outlook::Hopeless(task) = self.outlook {
            self.note_stuck(task);
            return Ended::Stuck;
        }
        self.only_sets = self.outlook.needs_set();
        let mut event = self.events.first();
        let mut turns: u32 = 0;
        while self.configuration.taken() < self.returned {
            turns = turns.wrapping_add(1);
            if turns.is_multiple_of(TURNS_PER_LOOK) && stop.is_now() {
                return Ended::Exhausted(Exhausted::Time);
            }
            if self.seen.len() > configurations {
                return Ended::Exhausted(Exhausted::Configurations);
            }
            match self.events.kind(event) {
                Some(Event::Call(task)) => match self.choose(task, state) {
                    Some(next) => (state, event) = (next, self.events.first()),
                    None => event = self.events.after(event),
                },
                Some(Event::Return(_)) if self.only_sets => {
                    self.only_sets = false;
                    event = self.events.first();
                }
                Some(Event::Return(task)) => {
                    self.note_stuck(task);
                    let Some(choice) = self.choices.pop() else { return Ended::Stuck };
                    let call = self.tasks[self.order[choice.place] as usize].call;
                    self.take_back(choice.place);
                    (self.outlook, self.only_sets) = (choice.outlook, choice.only_sets);
                    (state, event) = (choice.state, self.events.after(call));
                }
                None => panic!("every operation that returned has a return in the list"),
            }
        }
        Ended::Order
    }

    /// Puts the task next in the order, and the reads that fit then, unless that cannot be or was tried; gives the
    /// state.
    fn choose(&mut self, task: u32, state: StateId) -> Option<StateId> {
        let Task { class, ref kind, .. } = self.tasks[task as usize];
        let effect = self.steps.effect(class);
        let sets = matches!(effect, Effects::Sets { .. });
        if self.outlook.needs_set() && self.only_sets != sets {
            return None;
        }
        if let Outlook::Towards { goal, set: false, .. } = self.outlook
            && effect == Effects::Grows
            && !self.steps.grows_towards(state, class, goal)
        {
            return None;
        }
        let next = self.steps.step(state, class)?;
        if let Kind::Open { earlier_equal, .. } = kind {
            let comes_too_early = earlier_equal.is_some_and(|bit| !self.configuration.has_open(bit));
            if next == state || comes_too_early {
                return None;
            }
        }
        if self.wasted_before().is_some_and(|before| self.steps.step(before, class) == Some(next)) {
            return None;
        }
        let place = self.order.len();
        self.take(task);
        self.take_reads(next);
        let outlook = self.look(next);
        if let Outlook::Hopeless(task) = outlook {
            self.note_stuck(task);
            self.take_back(place);
            return None;
        }
        let remembered = if matches!(outlook, Outlook::Towards { hidden: true, .. }) { HIDDEN } else { next };
        if !self.seen.is_new(&self.configuration, remembered) {
            self.take_back(place);
            return None;
        }
        let (before, only_sets) = (std::mem::replace(&mut self.outlook, outlook), self.only_sets);
        self.choices.push(Choice { place, state, outlook: before, only_sets });
        self.only_sets = outlook.needs_set();
        Some(next)
    }

    /// What the configuration can lead to, with this state.
    fn look(&mut self, state: StateId) -> Outlook {
        if !self.looks_ahead {
            return Outlook::Open;
        }
        outlook::look(&mut self.steps, &self.events, |task| self.tasks[task as usize].class, state)
    }

    /// The state before the last of the order, if that is an operation without a return of which nothing has come yet.
    fn wasted_before(&self) -> Option<StateId> {
        let choice = self.choices.last().filter(|choice| choice.place + 1 == self.order.len())?;
        let task = &self.tasks[self.order[choice.place] as usize];
        matches!(task.kind, Kind::Open { .. }).then_some(choice.state)
    }

    /// Puts all read-only operations in the order that fit the state and may come now.
    fn take_reads(&mut self, state: StateId) {
        let mut event = self.events.first();
        while let Some(Event::Call(task)) = self.events.kind(event) {
            let Task { class, kind, .. } = &self.tasks[task as usize];
            let is_read = matches!(kind, Kind::Returned { read_only: true, .. });
            if is_read && self.steps.step(state, *class).is_some() {
                self.take(task);
            }
            event = self.events.after(event);
        }
    }

    fn take(&mut self, task: u32) {
        let Task { call, kind, .. } = &self.tasks[task as usize];
        self.events.lift(*call);
        match *kind {
            Kind::Returned { bit, event, .. } => {
                self.events.lift(event);
                self.configuration.take(bit);
            }
            Kind::Open { bit, .. } => self.configuration.flip_open(bit),
        }
        self.order.push(task);
    }

    /// Takes everything from this place on out of the order, the last first.
    fn take_back(&mut self, place: usize) {
        for task in self.order.drain(place..).rev() {
            let Task { call, kind, .. } = &self.tasks[task as usize];
            match *kind {
                Kind::Returned { bit, event, .. } => {
                    self.configuration.give_back(bit);
                    self.events.put_back(event);
                }
                Kind::Open { bit, .. } => self.configuration.flip_open(bit),
            }
            self.events.put_back(*call);
        }
    }

    fn note_stuck(&mut self, task: u32) {
        let (most, longest, at) = &mut self.longest;
        if longest.is_empty() || self.configuration.taken() > *most {
            (*most, *at) = (self.configuration.taken(), task);
            longest.clone_from(&self.order);
        }
        for (task, longest) in &mut self.wanted {
            let is_taken = match self.tasks[*task as usize].kind {
                Kind::Returned { bit, .. } => self.configuration.has_returned(bit),
                Kind::Open { bit, .. } => self.configuration.has_open(bit),
            };
            if is_taken && self.order.len() > longest.len() {
                longest.clone_from(&self.order);
            }
        }
    }

    fn stuck(self) -> Found {
        let (_, longest, stuck) = &self.longest;
        let limit = match self.tasks[*stuck as usize].kind {
            Kind::Returned { event, .. } => event,
            Kind::Open { .. } => 0,
        };
        let is_unplaced =
            |task: &u32| self.tasks[*task as usize].call < limit && task != stuck && !longest.contains(task);
        let unplaced: Vec<u32> = (0..self.tasks.len() as u32).filter(is_unplaced).collect();
        Found::Stuck {
            longest: self.places(longest),
            stuck: self.tasks[*stuck as usize].nth,
            unplaced: self.places(&unplaced),
        }
    }

    fn places(&self, tasks: &[u32]) -> Vec<usize> {
        tasks.iter().map(|task| self.tasks[*task as usize].nth).collect()
    }
}
