//! Registers: read, write, compare-and-set, delete.

use std::borrow::Cow;
use std::hash::Hash;

use super::{Effect, Keyed, Model};

/// Registers that start without a value, or with a given one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register<V> {
    /// The value before the first operation.
    pub initial: Option<V>,
}

impl<V> Register<V> {
    /// Registers without a value.
    pub fn empty() -> Self {
        Register { initial: None }
    }
}

/// What a register is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOp<V> {
    /// Its value.
    Read,
    /// To take a value.
    Write(V),
    /// To take a value if it has the expected one.
    Cas {
        /// The expected value.
        from: V,
        /// The new value.
        to: V,
        /// Whether it takes the new value without having any, too.
        create: bool,
    },
    /// To lose its value.
    Delete,
}

/// What a register answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterAnswer<V> {
    /// To a read: the value, or that there is none.
    Value(Option<V>),
    /// To a write, a compare-and-set that was carried out, a delete that does not say more.
    Done,
    /// To a compare-and-set: it has another value, or has none and none is created. Asserts that.
    Refused,
    /// To a delete: whether there was a value.
    Deleted(bool),
}

impl<V: Clone + Eq + Hash> Model for Register<V> {
    type State = Option<V>;
    type Input = Keyed<RegisterOp<V>>;
    type Output = RegisterAnswer<V>;

    fn initial(&self) -> Option<V> {
        self.initial.clone()
    }

    fn step(&self, state: &Option<V>, input: &Self::Input, output: Option<&RegisterAnswer<V>>) -> Option<Option<V>> {
        let (answer, next) = match &input.op {
            RegisterOp::Read => (RegisterAnswer::Value(state.clone()), state.clone()),
            RegisterOp::Write(value) => (RegisterAnswer::Done, Some(value.clone())),
            RegisterOp::Cas { from, to, create } => match state {
                Some(value) if value == from => (RegisterAnswer::Done, Some(to.clone())),
                None if *create => (RegisterAnswer::Done, Some(to.clone())),
                _ => (RegisterAnswer::Refused, state.clone()),
            },
            RegisterOp::Delete if output == Some(&RegisterAnswer::Done) => (RegisterAnswer::Done, None),
            RegisterOp::Delete => (RegisterAnswer::Deleted(state.is_some()), None),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn is_read_only(&self, input: &Self::Input, output: Option<&RegisterAnswer<V>>) -> bool {
        matches!(input.op, RegisterOp::Read)
            || matches!(output, Some(RegisterAnswer::Refused | RegisterAnswer::Deleted(false)))
    }

    fn effect(&self, input: &Self::Input, output: Option<&RegisterAnswer<V>>) -> Effect<Option<V>> {
        match (&input.op, output) {
            (RegisterOp::Read, Some(RegisterAnswer::Value(value))) => Effect::Shows(value.clone()),
            (RegisterOp::Delete, Some(RegisterAnswer::Deleted(false))) => Effect::Shows(None),
            (RegisterOp::Read, _) | (_, Some(RegisterAnswer::Refused)) => Effect::Keeps,
            (RegisterOp::Write(value), _) => Effect::Sets { to: Some(value.clone()), blindly: output.is_some() },
            (RegisterOp::Cas { to, .. }, _) => Effect::Sets { to: Some(to.clone()), blindly: false },
            (RegisterOp::Delete, _) => Effect::Sets { to: None, blindly: false },
        }
    }

    fn key<'a>(&self, input: &'a Self::Input) -> Cow<'a, str> {
        Cow::Borrowed(&input.key)
    }
}
