//! The model of a value that is text: get, put, append, compare-and-set, delete.

use std::borrow::Cow;

use quorate_harness::checker::{Keyed, Model};

/// Texts by key, none at first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Texts;

/// What a text is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextOp {
    Get,
    Put(String),
    Append(String),
    Cas { from: String, to: String },
    Delete,
}

/// What a text answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TextAnswer {
    Value(Option<String>),
    Done,
    Missing,
    Different,
    Deleted { existed: bool },
}

impl Model for Texts {
    type State = Option<String>;
    type Input = Keyed<TextOp>;
    type Output = TextAnswer;

    fn initial(&self) -> Option<String> {
        None
    }

    fn step(
        &self,
        state: &Option<String>,
        input: &Keyed<TextOp>,
        output: Option<&TextAnswer>,
    ) -> Option<Option<String>> {
        let (answer, next) = match (&input.op, state) {
            (TextOp::Get, _) => (TextAnswer::Value(state.clone()), state.clone()),
            (TextOp::Put(value), _) => (TextAnswer::Done, Some(value.clone())),
            (TextOp::Append(more), held) => {
                (TextAnswer::Done, Some([held.as_deref().unwrap_or_default(), more].concat()))
            }
            (TextOp::Cas { from, to }, Some(held)) if held == from => (TextAnswer::Done, Some(to.clone())),
            (TextOp::Cas { .. }, Some(_)) => (TextAnswer::Different, state.clone()),
            (TextOp::Cas { .. }, None) => (TextAnswer::Missing, None),
            (TextOp::Delete, held) => (TextAnswer::Deleted { existed: held.is_some() }, None),
        };
        output.is_none_or(|output| *output == answer).then_some(next)
    }

    fn is_read_only(&self, input: &Keyed<TextOp>, output: Option<&TextAnswer>) -> bool {
        use TextAnswer::{Deleted, Different, Missing};
        let refused = matches!(output, Some(Missing | Different | Deleted { existed: false }));
        matches!(input.op, TextOp::Get) || refused
    }

    fn key<'a>(&self, input: &'a Keyed<TextOp>) -> Cow<'a, str> {
        Cow::Borrowed(&input.key)
    }
}
