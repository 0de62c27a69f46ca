//! How a statement that changes something can fail, and what is then known.

use quorate_nodes::kv::KvError;

use crate::data::ShardError;

/// What became of a statement's part on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOutcome {
    /// It was carried out.
    Applied,
    /// It was not carried out, and never will be.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Why a statement was not carried out, or not everywhere. All but `Partial` and `Unknown` (and the session's two) are
/// definite: no shard kept anything, and none will.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The statement is wrong: its form, a name, a type. Error 12.
    #[error("{0}")]
    Invalid(String),
    /// No shard knows the table. Error 12.
    #[error("table {0} does not exist")]
    UnknownTable(String),
    /// What was to be new exists. Error 21.
    #[error("{0}")]
    Exists(String),
    /// A row would not be as its table declares. Error 22.
    #[error("{0}")]
    Constraint(String),
    /// Rows were changed by others again and again. Error 30.
    #[error("{0}")]
    Conflict(String),
    /// A shard did not accept its part. Error 11.
    #[error("{0}")]
    Unavailable(String),
    /// The number was used for another statement. Error 12, `seq_reused`.
    #[error("the session's number was used for another statement")]
    SeqReused,
    /// Some shards carried out their parts, others did not or may not have. Error 0, `partial`.
    #[error("carried out on some shards only: {text}")]
    Partial {
        /// How many rows changed where it was carried out.
        rows: u64,
        /// What became of each part, by the shards' names.
        shards: Vec<(String, PartOutcome)>,
        /// Why it is not carried out everywhere.
        text: String,
    },
    /// It is not known whether anything was carried out. Error 0.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The session no longer knows whether it was carried out. Error 0, `session_window` or `session_expired`.
    #[error("{0}")]
    Session(KvError),
}

impl StatementError {
    /// Whether nothing was carried out, and never will be.
    pub fn is_definite(&self) -> bool {
        use StatementError::{Partial, Session, Unknown};
        !matches!(self, Partial { .. } | Unknown(_) | Session(_))
    }
}

impl From<KvError> for StatementError {
    fn from(error: KvError) -> Self {
        match error {
            KvError::SeqReused => StatementError::SeqReused,
            KvError::SessionWindow | KvError::SessionExpired => StatementError::Session(error),
            KvError::Unknown(_) => StatementError::Unknown(error.to_string()),
            // Nobody heard of the statement itself.
            _ => StatementError::Unavailable(error.to_string()),
        }
    }
}

/// Nothing was proposed yet.
impl From<ShardError> for StatementError {
    fn from(error: ShardError) -> Self {
        match error {
            ShardError::Timeout | ShardError::Unavailable(_) => StatementError::Unavailable(error.to_string()),
            ShardError::Failed(text) => StatementError::Unavailable(text),
        }
    }
}
