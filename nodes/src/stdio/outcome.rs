//! The library's errors as replies: `Rejected` keeps a definite code, `Unknown` and `Fatal` never do.
//!
//! Leaves out: errors that took several attempts; after one attempt of unknown outcome the answer is indefinite,
//! whatever later attempts say.

use quorate::error::{AdminError, Fatal, ReadError, Rejected, Unknown, WriteError};
use quorate::sessions::Refusal;

use super::error::ErrorReply;

impl From<Rejected> for ErrorReply {
    fn from(cause: Rejected) -> Self {
        let text = cause.to_string();
        let unavailable = |reason: &'static str| ErrorReply::unavailable(text.clone()).reason(reason);
        match cause {
            Rejected::NoLeader => unavailable("no_leader"),
            Rejected::NotLeader { .. } => unavailable("not_leader"),
            Rejected::LeaderNotReady(_) => unavailable("leader_not_ready"),
            Rejected::Overloaded => unavailable("overloaded"),
            Rejected::DiskFull(_) => unavailable("disk_full"),
            Rejected::Deadline(_) => unavailable("not_started"),
            Rejected::NoSuchGroup(_) => unavailable("no_such_group"),
            Rejected::Stopped => unavailable("node_stopped"),
            Rejected::Consistency(_) => unavailable("consistency"),
            Rejected::Invalid(_) => ErrorReply::malformed(text),
            Rejected::Session(refusal) => session(refusal, text),
        }
    }
}

/// A number below the window may belong to a command that took effect long ago, and so may one of a session that has
/// expired: only a reused number is known not to have been carried out.
fn session(refusal: Refusal, text: String) -> ErrorReply {
    match refusal {
        Refusal::Expired => ErrorReply::timeout(text).reason("session_expired"),
        Refusal::BelowWindow => ErrorReply::timeout(text).reason("session_window"),
        Refusal::Reused => ErrorReply::malformed(text).reason("seq_reused"),
    }
}

impl From<Unknown> for ErrorReply {
    fn from(cause: Unknown) -> Self {
        let text = cause.to_string();
        match cause {
            Unknown::Deadline(_) => ErrorReply::timeout(text),
            Unknown::LeaderLost => ErrorReply::timeout(text).reason("leader_lost"),
            Unknown::AnswerLost(_) => ErrorReply::timeout(text).reason("answer_lost"),
            Unknown::Session(Refusal::Expired) => ErrorReply::timeout(text).reason("session_expired"),
            Unknown::Session(Refusal::BelowWindow) => ErrorReply::timeout(text).reason("session_window"),
            Unknown::Session(Refusal::Reused) => ErrorReply::timeout(text).reason("seq_reused"),
        }
    }
}

impl From<Fatal> for ErrorReply {
    fn from(cause: Fatal) -> Self {
        ErrorReply::crash(cause.to_string()).reason("fatal")
    }
}

impl From<WriteError> for ErrorReply {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(cause) => cause.into(),
            WriteError::Unknown(cause) => cause.into(),
            WriteError::Fatal(cause) => cause.into(),
        }
    }
}

impl From<ReadError> for ErrorReply {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Rejected(cause) => cause.into(),
            ReadError::Deadline(_) => ErrorReply::timeout(error.to_string()),
            ReadError::Fatal(cause) => cause.into(),
        }
    }
}

impl From<AdminError> for ErrorReply {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Rejected(cause) => cause.into(),
            AdminError::Unknown(cause) => cause.into(),
            AdminError::Fatal(cause) => cause.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_unknown_outcome_never_gets_a_definite_code() {
        let second = Duration::from_secs(1);
        let causes = [
            Unknown::Deadline(second),
            Unknown::LeaderLost,
            Unknown::AnswerLost("reset".into()),
            Unknown::Session(Refusal::Expired),
            Unknown::Session(Refusal::BelowWindow),
            Unknown::Session(Refusal::Reused),
        ];
        for cause in causes {
            assert!(!ErrorReply::from(WriteError::Unknown(cause.clone())).code.is_definite(), "{cause}");
        }
        assert!(!ErrorReply::from(WriteError::Fatal(Fatal("disk".into()))).code.is_definite());
    }

    #[test]
    fn a_number_below_the_window_is_not_known_to_have_failed() {
        let error = ErrorReply::from(Rejected::Session(Refusal::BelowWindow));
        assert!(!error.code.is_definite());
        assert_eq!(error.reason.as_deref(), Some("session_window"));
    }
}
