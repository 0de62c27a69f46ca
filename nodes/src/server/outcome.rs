//! What a failed call says: a gRPC status, and in a trailer whether a change can have happened.

use std::time::Duration;

use quorate::{ReadError, Rejected, WriteError};
use quorate_statemachines::kv::Json;
use tonic::Status;

use crate::kv::KvError;

/// How long a call may take that does not say.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest that a caller may ask for.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// The trailer that says what is known of a failed change.
const OUTCOME: &str = "quorate-outcome";

/// How long a call may take that says so many milliseconds.
pub(super) fn timeout(ms: u64) -> Duration {
    if ms == 0 { TIMEOUT } else { Duration::from_millis(ms).min(TIMEOUT_MAX) }
}

/// A value that a client sent.
pub(super) fn json(text: &str) -> Result<Json, Status> {
    Json::parse(text).map_err(|error| rejected(Status::invalid_argument(format!("a value that is no JSON: {error}"))))
}

/// A request that cannot be one.
pub(super) fn malformed(text: String) -> Status {
    rejected(Status::invalid_argument(text))
}

fn with_outcome(mut status: Status, outcome: &'static str) -> Status {
    status.metadata_mut().insert(OUTCOME, tonic::metadata::MetadataValue::from_static(outcome));
    status
}

/// It did not happen and never will.
pub(super) fn rejected(status: Status) -> Status {
    with_outcome(status, "rejected")
}

/// It may have happened.
pub(super) fn unknown(status: Status) -> Status {
    with_outcome(status, "unknown")
}

/// Whether a change that failed so may have happened: what does not say otherwise may, a lost connection for one.
pub(crate) fn is_unknown(status: &Status) -> bool {
    status.metadata().get(OUTCOME).is_none_or(|outcome| outcome != "rejected")
}

/// How a failed operation is told.
pub(super) fn status_of(error: &KvError) -> Status {
    let text = error.to_string();
    let status = match error {
        KvError::NoConfig | KvError::Unassigned(_) => Status::failed_precondition(text),
        KvError::Invalid(_) | KvError::SeqReused => Status::invalid_argument(text),
        KvError::NotServed(_) | KvError::Unavailable(_) => Status::unavailable(text),
        KvError::NoAnswer(_) => Status::deadline_exceeded(text),
        KvError::SessionWindow | KvError::SessionExpired | KvError::Unknown(_) => Status::unknown(text),
    };
    if error.is_definite() { rejected(status) } else { unknown(status) }
}

fn rejected_by(cause: &Rejected) -> Status {
    let text = cause.to_string();
    rejected(match cause {
        Rejected::Invalid(_) => Status::invalid_argument(text),
        // Whoever sends it again opens a session first.
        Rejected::Session(_) => Status::aborted(text),
        _ => Status::unavailable(text),
    })
}

/// How a failed write to a group of the program's own machine is told.
pub(super) fn write_failed(error: &WriteError) -> Status {
    match error {
        WriteError::Rejected(cause) => rejected_by(cause),
        other => unknown(Status::unknown(other.to_string())),
    }
}

/// The same of a read.
pub(super) fn read_failed(error: &ReadError) -> Status {
    match error {
        ReadError::Rejected(cause) => rejected_by(cause),
        ReadError::Deadline(_) => rejected(Status::deadline_exceeded(error.to_string())),
        ReadError::Fatal(_) => rejected(Status::unavailable(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_says_whether_it_can_have_happened() {
        let outcome = |error: KvError| {
            let status = status_of(&error);
            status.metadata().get(OUTCOME).expect("an outcome").to_str().expect("a text").to_owned()
        };
        assert_eq!(outcome(KvError::NoConfig), "rejected");
        assert_eq!(outcome(KvError::NoAnswer("late".into())), "rejected");
        assert_eq!(outcome(KvError::Unknown("lost".into())), "unknown");
        assert_eq!(outcome(KvError::SessionExpired), "unknown");
    }

    #[test]
    fn a_call_that_names_no_timeout_gets_one_and_none_is_for_ever() {
        assert_eq!(timeout(0), TIMEOUT);
        assert_eq!(timeout(20), Duration::from_millis(20));
        assert_eq!(timeout(u64::MAX), TIMEOUT_MAX);
    }
}
