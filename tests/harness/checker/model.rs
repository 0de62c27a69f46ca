//! What a history is judged by: the object as it would be without concurrency.

use std::borrow::Cow;
use std::hash::Hash;

/// A sequential object.
///
/// `step` must be a function of its arguments; equal states must behave equally.
pub trait Model {
    /// The object's state.
    type State: Clone + Eq + Hash;
    /// What an operation is asked.
    type Input: Eq + Hash;
    /// What an operation answers.
    type Output: Eq + Hash;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after an operation; `None` when it could not have answered this in that state.
    ///
    /// Without an output the answer is not known, and the operation is possible in every state.
    fn step(&self, state: &Self::State, input: &Self::Input, output: Option<&Self::Output>) -> Option<Self::State>;

    /// Whether an operation that answers this never changes any state. Saying so makes the search much shorter; saying
    /// so of an operation that does change a state makes its verdict wrong.
    fn is_read_only(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> bool {
        false
    }

    /// What an operation that answers this does to states, as far as can be said without one. Saying so makes the search of
    /// histories with many operations at once much shorter; saying what is not so makes its verdict wrong.
    fn effect(&self, _input: &Self::Input, _output: Option<&Self::Output>) -> Effect<Self::State> {
        Effect::Unknown
    }

    /// Whether operations that only grow a state could make `later` of `earlier`. Each state is part of itself, and a part of
    /// a part is a part.
    fn is_part(&self, earlier: &Self::State, later: &Self::State) -> bool {
        earlier == later
    }

    /// Whether this growing operation makes a part of `later` of a state that is one.
    fn grows_towards(&self, state: &Self::State, input: &Self::Input, later: &Self::State) -> bool {
        self.step(state, input, None).is_some_and(|next| self.is_part(&next, later))
    }

    /// Whether every operation that grows or blindly sets a state is possible in this one, and in what it grows into.
    fn takes_all(&self, _state: &Self::State) -> bool {
        false
    }

    /// The part of the state that an operation concerns. Operations of different keys must not depend on each other;
    /// the state is then that of one key.
    fn key<'a>(&self, _input: &'a Self::Input) -> Cow<'a, str> {
        Cow::Borrowed("")
    }
}

/// What an operation does to states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<S> {
    /// It is possible in this state alone, and leaves it as it is.
    Shows(S),
    /// It leaves every state as it is.
    Keeps,
    /// Every state is part of what it becomes ([`Model::is_part`]).
    Grows,
    /// Every state becomes this one, or stays as it is.
    Sets {
        /// Which.
        to: S,
        /// Whether it is possible in every state, and never leaves it as it is.
        blindly: bool,
    },
    /// Nobody says.
    Unknown,
}

/// An operation on one of many independent objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Keyed<T> {
    /// Which object.
    pub key: String,
    /// What it is asked.
    pub op: T,
}

impl<T> Keyed<T> {
    /// An operation on the object of this name.
    pub fn new(key: impl Into<String>, op: T) -> Self {
        Keyed { key: key.into(), op }
    }
}
