//! Masters under faults, with clients at work: nothing acknowledged is lost, an epoch has one primary, everybody is told
//! once.
//!
//! `failovers`: planned ones and dead primaries, over and over. `two`: two masters, of which one may go on alone.
//! `planned`: what an operator's failover says of itself. `ending`: a process with masters can end.

mod cluster;
mod ending;
mod failovers;
mod load;
mod planned;
mod two;
