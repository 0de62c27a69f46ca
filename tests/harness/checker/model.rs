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

    /// The part of the state that an operation concerns. Operations of different keys must not depend on each other;
    /// the state is then that of one key.
    fn key<'a>(&self, _input: &'a Self::Input) -> Cow<'a, str> {
        Cow::Borrowed("")
    }
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
