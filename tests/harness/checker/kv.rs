//! Strings by key that start empty: get, put, append.

use std::borrow::Cow;

use super::{Effect, Keyed, Model};

/// Strings that start empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strings;

/// What a string is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringOp {
    /// Its value.
    Get,
    /// To be this.
    Put(String),
    /// To end with this.
    Append(String),
}

/// What a string answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StringAnswer {
    /// To a get.
    Value(String),
    /// To a put or an append.
    Done,
}

impl Model for Strings {
    type State = String;
    type Input = Keyed<StringOp>;
    type Output = StringAnswer;

    fn initial(&self) -> String {
        String::new()
    }

    fn step(&self, state: &String, input: &Self::Input, output: Option<&StringAnswer>) -> Option<String> {
        let next = match (&input.op, output) {
            (StringOp::Get, Some(StringAnswer::Value(value))) if value == state => state.clone(),
            (StringOp::Get, None) => state.clone(),
            (StringOp::Put(value), None | Some(StringAnswer::Done)) => value.clone(),
            (StringOp::Append(value), None | Some(StringAnswer::Done)) => [state, value.as_str()].concat(),
            _ => return None,
        };
        Some(next)
    }

    fn is_read_only(&self, input: &Self::Input, _output: Option<&StringAnswer>) -> bool {
        matches!(input.op, StringOp::Get)
    }

    fn effect(&self, input: &Self::Input, output: Option<&StringAnswer>) -> Effect<String> {
        match (&input.op, output) {
            (StringOp::Get, Some(StringAnswer::Value(value))) => Effect::Shows(value.clone()),
            (StringOp::Get, _) => Effect::Keeps,
            (StringOp::Put(value), _) => Effect::Sets { to: value.clone(), blindly: true },
            (StringOp::Append(_), _) => Effect::Grows,
        }
    }

    fn is_part(&self, earlier: &String, later: &String) -> bool {
        later.starts_with(earlier.as_str())
    }

    fn grows_towards(&self, state: &String, input: &Self::Input, later: &String) -> bool {
        let StringOp::Append(end) = &input.op else { return false };
        later.strip_prefix(state.as_str()).is_some_and(|rest| rest.starts_with(end.as_str()))
    }

    fn takes_all(&self, _state: &String) -> bool {
        true
    }

    fn key<'a>(&self, input: &'a Self::Input) -> Cow<'a, str> {
        Cow::Borrowed(&input.key)
    }
}
