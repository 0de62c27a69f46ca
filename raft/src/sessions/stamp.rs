//! A command's place in its session, and why a session may refuse it.

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::types::ClientId;

/// A command's place in its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Whose session.
    pub client: ClientId,
    /// The command's number in it; retries carry the same one.
    pub seq: u64,
    /// Replies up to this number may be forgotten. Numbers from `seq` on are not meant and have no effect.
    pub acked: Option<u64>,
}

/// Why a session did not carry a command out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    /// There is no such session: never opened, or expired.
    #[error("expired")]
    Expired,
    /// The number is below the window: its reply is forgotten.
    #[error("below the window")]
    BelowWindow,
    /// The number was used for another command.
    #[error("number used for another command")]
    Reused,
}

/// The digest by which a session tells a retry from another command under the same number.
pub fn digest(command: &[u8]) -> u64 {
    XxHash3_64::oneshot(command)
}
