//! Client sessions: each command takes effect once (thesis §6.3).
pub use self::table_api::*;
mod table_api {
    use crate::types::ClientId;
    use serde::{Deserialize, Serialize};
    /// A command's place in its session.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct Stamp {
        /// Whose session.
        pub client: ClientId,
        /// The command's number in it; retries carry the same one.
        pub seq: u64,
        /// Replies up to this number may be forgotten.
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
}
