//! The model's steps, each computed once: states and kinds of operations become numbers.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Effect, Model};

/// A state's number.
pub(super) type StateId = u32;
/// The number of all operations with the same input and output.
pub(super) type ClassId = u32;

type Class<'a, M> = (&'a <M as Model>::Input, Option<&'a <M as Model>::Output>);

/// What operations of a class do to states, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effects {
    Shows(StateId),
    Keeps,
    Grows,
    Sets { to: StateId, blindly: bool },
    Unknown,
}

/// What is known of a model.
pub(super) struct Steps<'a, M: Model> {
    model: &'a M,
    classes: Vec<Class<'a, M>>,
    effects: Vec<Effects>,
    class_ids: HashMap<Class<'a, M>, ClassId>,
    states: Vec<Rc<M::State>>,
    state_ids: HashMap<Rc<M::State>, StateId>,
    known: HashMap<(StateId, ClassId), Option<StateId>>,
}

impl<'a, M: Model> Steps<'a, M> {
    /// Nothing but the initial state, which has number 0.
    pub(super) fn new(model: &'a M) -> Self {
        let mut steps = Steps {
            model,
            classes: Vec::new(),
            effects: Vec::new(),
            class_ids: HashMap::new(),
            states: Vec::new(),
            state_ids: HashMap::new(),
            known: HashMap::new(),
        };
        steps.state_id(model.initial());
        steps
    }

    /// The class of an operation; `None` for the output of one that did not return.
    pub(super) fn class(&mut self, input: &'a M::Input, output: Option<&'a M::Output>) -> ClassId {
        let next = self.classes.len() as ClassId;
        let id = *self.class_ids.entry((input, output)).or_insert(next);
        if id == next {
            self.classes.push((input, output));
            let effect = match self.model.effect(input, output) {
                Effect::Shows(state) => Effects::Shows(self.state_id(state)),
                Effect::Keeps => Effects::Keeps,
                Effect::Grows => Effects::Grows,
                Effect::Sets { to, blindly } => Effects::Sets { to: self.state_id(to), blindly },
                Effect::Unknown => Effects::Unknown,
            };
            self.effects.push(effect);
        }
        id
    }

    /// What operations of this class do.
    pub(super) fn effect(&self, class: ClassId) -> Effects {
        self.effects[class as usize]
    }

    /// Whether the later state can be what the earlier one has grown into.
    pub(super) fn is_part(&self, earlier: StateId, later: StateId) -> bool {
        earlier == later || self.model.is_part(&self.states[earlier as usize], &self.states[later as usize])
    }

    /// Whether an operation of this class makes a part of `later` of a state that is one.
    pub(super) fn grows_towards(&self, state: StateId, class: ClassId, later: StateId) -> bool {
        let (input, _) = self.classes[class as usize];
        self.model.grows_towards(&self.states[state as usize], input, &self.states[later as usize])
    }

    /// Whether whatever grows or blindly sets a state is possible in this one.
    pub(super) fn takes_all(&self, state: StateId) -> bool {
        self.model.takes_all(&self.states[state as usize])
    }

    /// Where an operation of this class leads to; `None` when it is not possible there.
    pub(super) fn step(&mut self, state: StateId, class: ClassId) -> Option<StateId> {
        if let Some(known) = self.known.get(&(state, class)) {
            return *known;
        }
        let (input, output) = self.classes[class as usize];
        let next = self.model.step(&self.states[state as usize], input, output).map(|next| self.state_id(next));
        self.known.insert((state, class), next);
        next
    }

    fn state_id(&mut self, state: M::State) -> StateId {
        if let Some(id) = self.state_ids.get(&state) {
            return *id;
        }
        let (id, state) = (self.states.len() as StateId, Rc::new(state));
        self.states.push(Rc::clone(&state));
        self.state_ids.insert(state, id);
        id
    }
}
