//! A session outside of its table: as a record of a snapshot, and as a copy on its way to another group.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::{ClientId, Index, LogTime};

/// The reply that a session keeps for one number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptReply {
    /// The number.
    pub seq: u64,
    /// The digest of the command that was carried out under it.
    pub digest: u64,
    /// The entry that carried it out, or brought it here from another group.
    pub at: Index,
    /// The encoded reply.
    pub reply: Bytes,
}

/// A session exactly as the table holds it: for snapshots of the same group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Whose.
    pub client: ClientId,
    /// The entry that opened it, or brought it here from another group.
    pub opened: Index,
    /// When it was last used, in this log's time.
    pub last_used: LogTime,
    /// The highest number carried out.
    pub highest: Option<u64>,
    /// Replies up to this number are forgotten.
    pub acked: Option<u64>,
    /// The replies kept, by rising number.
    pub replies: Vec<KeptReply>,
}

/// A session, or what is new in it, on its way to another group: times are ages, since each log has its own time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCopy {
    /// Whose.
    pub client: ClientId,
    /// Whether this is the whole session, which replaces any older copy; otherwise it adds to one.
    pub whole: bool,
    /// How long it had not been used when it was copied, in milliseconds of its log's time.
    pub idle_ms: u64,
    /// The highest number carried out.
    pub highest: Option<u64>,
    /// Replies up to this number are forgotten.
    pub acked: Option<u64>,
    /// All replies kept, or those recorded since the copy that this one adds to; by rising number.
    pub replies: Vec<KeptReply>,
}

impl SessionCopy {
    /// About how many bytes it is made of.
    pub fn size(&self) -> usize {
        let replies: usize = self.replies.iter().map(|kept| kept.reply.len() + 24).sum();
        self.client.0.len() + 32 + replies
    }
}
