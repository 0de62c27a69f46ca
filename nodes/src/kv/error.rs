//! How an operation on the store can fail.

use quorate::{ReadError, Rejected, WriteError};
use quorate_statemachines::ShardId;
use quorate_statemachines::kv::NotServed;

/// Why an operation on the store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// There is no configuration yet. Definite.
    #[error("there is no configuration yet")]
    NoConfig,
    /// Nobody serves the shard; its data is kept by its last holder. Definite.
    #[error("{0} is assigned to no group")]
    Unassigned(ShardId),
    /// The groups asked do not serve the shard. Definite.
    #[error("{0}")]
    NotServed(NotServed),
    /// No attempt was accepted by the deadline: no leader, a stopped group, too much load. Definite.
    #[error("not accepted: {0}")]
    Unavailable(Rejected),
    /// Nobody answered by the deadline. Definite: it was a read, or no attempt came as far as the operation itself.
    #[error("no answer: {0}")]
    NoAnswer(String),
    /// The session number was used for another operation. Definite.
    #[error("the session's number was used for another operation")]
    SeqReused,
    /// The request itself is wrong. Definite.
    #[error("{0}")]
    Invalid(String),
    /// The session no longer knows whether the operation was carried out.
    #[error("the session's number is below its window: it may have been carried out")]
    SessionWindow,
    /// The session expired; the operation may have been carried out before.
    #[error("the session has expired: it may have been carried out")]
    SessionExpired,
    /// The outcome is unknown.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

impl KvError {
    /// Whether the operation is known not to have taken effect.
    pub fn is_definite(&self) -> bool {
        !matches!(self, KvError::SessionWindow | KvError::SessionExpired | KvError::Unknown(_))
    }
}

impl From<Rejected> for KvError {
    fn from(cause: Rejected) -> Self {
        KvError::Unavailable(cause)
    }
}

/// What a failed read came to.
impl From<ReadError> for KvError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rejected(cause) => KvError::Unavailable(cause),
            ReadError::Deadline(_) => KvError::NoAnswer(error.to_string()),
            ReadError::Fatal(_) => KvError::Unavailable(Rejected::Stopped),
        }
    }
}

/// What a failed write came to that is harmless if it was carried out.
pub(super) fn of_harmless(error: WriteError) -> KvError {
    match error {
        WriteError::Rejected(cause) => KvError::Unavailable(cause),
        WriteError::Unknown(_) | WriteError::Fatal(_) => KvError::NoAnswer(error.to_string()),
    }
}
