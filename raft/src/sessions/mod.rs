//! Client sessions: each command takes effect once (thesis §6.3).
//!
//! Promises: a retried number returns its first reply as long as the reply is kept (the newest [`WINDOW`] of a client,
//! less what the client acknowledged); a number whose reply is forgotten is never carried out again; a command of an
//! unknown or expired session is never carried out at all. A copy of a table that follows the original by
//! [`Table::copy`] and [`Table::merge`] keeps all of this across groups.
//! Leaves out: authentication, and who opens a session when (an expired client must open again, under a new name if it
//! still has commands of unknown outcome).

mod client;
mod records;
mod session;
mod stamp;
mod table;

pub use client::{Call, ClientSession};
pub use records::{KeptReply, SessionCopy, SessionRecord};
pub use session::{Begin, WINDOW};
pub use stamp::{Refusal, Stamp, digest};
pub use table::{DEFAULT_TTL, Table};
