//! What masters refuse, as error replies.

use quorate_statemachines::master::{Epoch, Office, Refusal};
use serde_json::Value;

use super::masters::Masters;
use crate::stdio::ErrorReply;

impl Masters {
    /// Error 11: ask the primary.
    pub(super) fn not_primary(&self, primary: Option<&str>) -> ErrorReply {
        let text = match primary {
            Some(primary) => format!("this is a shadow; the primary is {primary}"),
            None => "this is a shadow; it knows no primary".to_owned(),
        };
        ErrorReply::unavailable(text).reason("not_primary").hint("primary", primary.map_or(Value::Null, Value::from))
    }
}

/// Error 22: the client believes in another epoch.
pub(super) fn wrong_epoch(claimed: Epoch, office: &Office) -> ErrorReply {
    let (text, reason) = if claimed < office.epoch {
        (format!("epoch {claimed} is over"), "stale_epoch")
    } else {
        (format!("epoch {claimed} has not begun"), "unknown_epoch")
    };
    let primary = office.primary.as_deref().map_or(Value::Null, Value::from);
    ErrorReply::precondition(text).reason(reason).hint("primary", primary).hint("epoch", office.epoch.0)
}

/// What the metadata does not allow.
pub(super) fn refused(refusal: Refusal) -> ErrorReply {
    match refusal {
        Refusal::NoSuchPath => no_such_path(),
        Refusal::Exists => ErrorReply::key_exists("the path is taken").reason("exists"),
        Refusal::NotEnoughServers { available } => {
            let text = format!("only {available} live chunk servers have room");
            ErrorReply::precondition(text).reason("not_enough_servers").hint("available", available)
        }
        Refusal::NotRegistered => not_registered(),
    }
}

/// Error 20 for a path.
pub(super) fn no_such_path() -> ErrorReply {
    ErrorReply::key_missing("there is no such path").reason("no_such_path")
}

/// Error 22 for a chunk server that nobody knows.
pub(super) fn not_registered() -> ErrorReply {
    ErrorReply::precondition("no such chunk server: it is to register first").reason("not_registered")
}
