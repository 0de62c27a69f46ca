//! Why a query has no answer, and why a shard has no part in one.

use datafusion::common::DataFusionError;
use datafusion::common::SchemaError;

use crate::data::ShardError;

/// A place in a statement, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The character in the line.
    pub column: u64,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The statement makes no sense as it stands, or not with the rows that there are: 1/0.
    #[error("{text}")]
    Wrong {
        /// What the engine says.
        text: String,
        /// Where, if it says that.
        position: Option<Position>,
    },
    /// It needs more memory than queries may have.
    #[error("the query needs more memory than queries may have: {0}")]
    Memory(String),
    /// No shard answered.
    #[error("no shard answered")]
    NobodyAnswered(Vec<Failed>),
    /// The shards answered, but the rest took too long.
    #[error("what the shards gave could not be put together in time")]
    TooLate,
    /// A mistake of ours.
    #[error("{0}")]
    Internal(String),
}

/// A shard that has no part in an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Its name.
    pub shard: String,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, for people.
    pub text: String,
}

/// Why a shard has no part in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It did not answer in time.
    Timeout,
    /// It could not answer: stopped, or without a leader.
    Unavailable,
    /// It failed at its part.
    Error,
}

impl Reason {
    /// The word of the protocol.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::Unavailable => "unavailable",
            Reason::Error => "error",
        }
    }
}

impl From<&ShardError> for Reason {
    fn from(error: &ShardError) -> Self {
        match error {
            ShardError::Timeout => Reason::Timeout,
            ShardError::Unavailable(_) => Reason::Unavailable,
            ShardError::Failed(_) => Reason::Error,
        }
    }
}

impl QueryError {
    pub(crate) fn wrong(text: impl Into<String>) -> Self {
        let text = text.into();
        let position = position_in(&text);
        QueryError::Wrong { text, position }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        match kind(&error) {
            Kind::Memory => QueryError::Memory(text(&error)),
            Kind::Internal => QueryError::Internal(text(&error)),
            Kind::Statement => {
                let text = text(&error);
                let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
                let start = span.map(|span| Position { line: span.start.line, column: span.start.column });
                let Some(at) = position_in(&text).or(start.filter(|start| start.line > 0)) else {
                    return QueryError::Wrong { text, position: None };
                };
                let text = match position_in(&text) {
                    Some(_) => text,
                    None => format!("{text} at Line: {}, Column: {}", at.line, at.column),
                };
                QueryError::Wrong { text, position: Some(at) }
            }
        }
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The statement's.
    Statement,
    /// That of the bound on memory.
    Memory,
    /// Ours.
    Internal,
}

pub(crate) fn kind(error: &DataFusionError) -> Kind {
    use datafusion::arrow::error::ArrowError;
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Kind::Memory,
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::IpcError(_)
            | ArrowError::IoError(_, _)
            | ArrowError::ExternalError(_)
            | ArrowError::SchemaError(_) => Kind::Internal,
            _ => Kind::Statement,
        },
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_)
        | DataFusionError::NotImplemented(_) => Kind::Statement,
        DataFusionError::SchemaError(error, _) => match error.as_ref() {
            SchemaError::AmbiguousReference { .. }
            | SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. }
            | SchemaError::FieldNotFound { .. } => Kind::Statement,
        },
        _ => Kind::Internal,
    }
}

/// The message without traces of our own code.
pub(crate) fn text(error: &DataFusionError) -> String {
    error.strip_backtrace().trim().to_owned()
}

/// The position that a message of the parser names: `... at Line: 1, Column: 8`.
fn position_in(text: &str) -> Option<Position> {
    let (_, at) = text.rsplit_once("Line: ")?;
    let (line, rest) = at.split_once(", Column: ")?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    Some(Position { line: line.parse().ok()?, column: rest[..digits].parse().ok()? })
}
