//! Shards in other processes, reached through messages that may be lost, doubled, delayed or overtaken.
//!
//! A question's way: `asker` (numbered, repeated until something comes back) → `message` (lines) → `answerer` (carried out
//! once, its answer kept and cut into pages) → `member` (the shard's own replica) → the pages, back to the asker, which asks
//! again for those that are missing. `remote` is a shard as the coordinator sees it through all that.
//!
//! Promises: an answer counts when all of its pages are there, and each page says how many there are, so what is lost is
//! missed and never taken for the end; a question that arrives twice is carried out once; a change takes effect once, even
//! so, because it bears a session's number.
//! Leaves out: questions larger than a message; a view that outlives the replica which showed it: the query goes on without
//! that shard.

mod answerer;
mod asker;
mod member;
mod message;
mod remote;

pub use self::asker::Asker;
pub use self::member::{Member, MemberOptions};
pub(crate) use self::message::is_own;
pub use self::remote::RemoteShard;
