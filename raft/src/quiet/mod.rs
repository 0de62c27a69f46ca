//! Groups that nobody uses fall quiet: their replicas keep no time and send nothing, until somebody wants something.
//!
//! Promises: a quiet replica answers as an awake one does, at most a round of messages later; when the node that led goes
//! silent, its groups elect. Whatever is lost on the way costs availability for a bounded time, never safety.
//! Leaves out: groups of two masters ([`crate::GroupOptions::flush_before_send`]), whose rule watches heartbeats: they never
//! sleep.
//!
//! Why it is safe: all that sleep takes away is openraft's ticks. Without them a replica sends no heartbeats and stands for
//! no election, which a slow machine may do at any time; votes, leases, commits and read indexes are judged as ever. A lease
//! runs out while its leader sleeps, so a lease read and a write first wait for a round that a quorum answers; a bounded read
//! rests on the age of a probe, which grows, and the next probe is such a round.
//!
//! How a group falls asleep: its leader, asked for nothing for [`crate::GroupOptions::quiesce_after`], stops its ticks and
//! tells each other replica where the log ends ([`crate::transport::Quiesce`]). One that holds and has applied exactly that,
//! in that term, stops its own ticks, has its host watch the leader's node, and agrees. Unless all agree the leader goes on.
//!
//! How it wakes ([`Rest`], [`keeper`]):
//! - The leader, by any request, or a word from another replica: it ticks, confirms by a quorum that it leads, and then
//!   serves. Its heartbeats wake the others.
//! - A follower, by any message of a leader: it ticks. By a request, or when the leader's node is lost ([`crate::host`] pings
//!   it: one message for all groups): it asks the leader to wake, and ticks when it hears of it, or after a while anyway.
//!   Those who follow the same leader tick one after the other, lest they split the votes.
//!
//! What can go wrong, and what becomes of it:
//! - *The last round is lost, or one replica refuses*: the leader goes on, and its heartbeats wake those that agreed. One
//!   heartbeat that was on its way when they agreed does not; an awake leader sends more.
//! - *A follower wakes while the leader sleeps*: it asks the leader to wake; should that be lost it asks for pre-votes, which
//!   a quiet replica refuses while its host sees the leader's node, and which wake it.
//! - *One-way cuts*: a follower that cannot reach the leader, or not be reached, does not take part in the last round, so the
//!   group stays awake; cut later, its pings fail, it wakes, and the others' refusals and their waking the leader bring it back.
//! - *The leader's node is killed, cut off or paused*: three pings fail. Restarted, or the group stopped there: it answers the
//!   pings as somebody else, which counts as lost too.
//! - *The leader is deposed in its sleep*: its next round is answered by a higher term. Nobody is answered by it before.
//! - *Leadership is handed over, or the membership changed*: both are requests. A joint membership does not fall asleep, nor a
//!   leader that is no voter, nor one that anybody lags behind: a new or a removed replica is heard of first.

mod keeper;
mod rest;
mod rounds;

pub(crate) use keeper::keep;
pub(crate) use rest::Rest;
pub(crate) use rounds::Settled;
